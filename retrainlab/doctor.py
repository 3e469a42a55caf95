"""`retrainlab doctor`: what is on this machine, and for each thing missing how to get it."""

import os
import platform
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from textwrap import wrap
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput, shortened
from retrainlab.data import sources
from retrainlab.data.folders import printable
from retrainlab.paths import command, data_root, engines_file, home, lend_places
from retrainlab.progress import Progress

if TYPE_CHECKING:
    from retrainlab.study.store import Store

NAMED = 10  # stored files that a finding names
SAMPLE = 50  # stored files that are looked at unless all are asked for
ROOM = 200e6  # bytes without which a store is nearly full
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox", "microsoft-edge")


@dataclass(frozen=True)
class Finding:
    """An entry of the table. good: usable as it is; required: nothing runs without it; bad: the word for it if not good."""

    what: str
    found: str
    good: bool = True
    remedy: str = ""
    required: bool = False
    bad: str = "missing"


def examine(store: str | None = None) -> list[Finding]:
    """Look at everything; a check that fails is itself a finding.

    store: the folder of results in which every file is read, "" for the project's own; None reads a sample of the latter.
    """
    before = *_python(), *_torch(), *_packages(), *_home(), *_data(), *_kernel()
    return [*before, *_store(store), *_engines(), *_browser()]


def table(findings: list[Finding]) -> str:
    """The findings as text, with the remedies below what is missing."""
    width = max(len(f.what) for f in findings)
    lines = []
    for f in findings:
        mark = "ok" if f.good else f.bad.upper() if f.required else f.bad
        first, *more = wrap(f.found, 100 - width) or [""]
        lines.append(f"{f.what:<{width}}  {mark:<7}  {first}")
        lines += [f"{'':<{width}}           {line}" for line in more + ([f"-> {f.remedy}"] if f.remedy else [])]
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if good else "install Python 3.11, 3.12 or 3.13 and run `make setup` again"
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})", good, remedy, required=True)


def _torch() -> Iterator[Finding]:
    torch, vision = _version("torch"), _version("torchvision")
    if torch is None:
        yield Finding("torch", "not installed", False, "make setup", required=True)
        return
    from retrainlab.device import describe, memory, resolve

    yield Finding("torch", torch)
    if vision is None:
        yield Finding("torchvision", "not installed", False, "pip install torchvision")
    else:
        try:
            import_module("torchvision")
            yield Finding("torchvision", f"{vision}, loads with this torch")
        except Exception as error:
            found = f"{vision} does not load with torch {torch} ({str(error).splitlines()[0]})"
            remedy = "install the two together: pip install --upgrade torch torchvision"
            yield Finding("torchvision", found, False, remedy)
    device = resolve("auto")
    if device.type == "cuda":
        yield Finding("device", describe(device))
    else:
        remedy = "optional: with an NVIDIA GPU and its driver, torch finds it by itself"
        yield Finding("device", ", ".join(filter(None, [describe(device), memory()])), True, remedy)


def _packages() -> Iterator[Finding]:
    core = ("numpy", "pandas", "scipy", "scikit-learn", "safetensors")
    notebooks = ("jupyterlab", "ipywidgets", "matplotlib", "seaborn", "papermill")
    onnx = ("onnx", "onnxscript", "onnxruntime")
    optional = [("notebooks", notebooks, False), ("ONNX files", onnx, False), ("timm's networks", ("timm",), False)]
    for what, names, required in (("computing", core, True), *optional):
        missing = [n for n in names if _version(n) is None]
        found = ", ".join(f"{n} {_version(n) or 'not installed'}" for n in names)
        yield Finding(what, found, not missing, f"pip install {' '.join(missing)}" if missing else "", required)


def _home() -> Iterator[Finding]:
    own = home()
    if own is None or not os.access(own, os.W_OK):
        found = f"{own} cannot be written" if own else "there is none"
        remedy = "set HOME to a folder of yours; without one, data sets need RETRAINLAB_DATA, and engines are measured "
        yield Finding("home directory", found, False, remedy + "each time")


def _data() -> Iterator[Finding]:
    lacking, root = sources.missing(), data_root()
    for name, known in sources.BUILT_IN.items():
        if name in lacking:
            yield Finding(f"data: {name}", f"not in {root}" if root else "no folder for it", False, lacking[name])
        else:
            yield Finding(f"data: {name}", f"{known.where()}: {known.holds.words()}")


def folder(name: str) -> Finding:
    """What a folder of images holds, after reading all of them."""
    path = os.path.abspath(os.path.expanduser(name))  # a folder, even where a data set has its name
    try:
        sources.source(path, 4).read()
        return Finding("data: folder", sources.content(path))
    except BadInput as error:
        return Finding("data: folder", str(error), False, required=True)


def _kernel() -> Iterator[Finding]:
    lend_places()
    remedy = "make setup, then run the notebooks with this environment's jupyter"
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:
        yield Finding("kernel python3", f"none ({error})", False, remedy)
    else:
        ours = program in ("python", "python3", sys.executable)  # Jupyter takes its own for a bare name
        yield Finding("kernel python3", program, ours, "" if ours else remedy)


def _store(asked: str | None) -> Iterator[Finding]:
    from retrainlab.study.results import Results

    if asked and not os.path.isdir(asked):
        yield Finding("store", f"there is no folder {asked}", False, "name one that is there", required=True)
        return
    store = None
    try:
        store = Results.at(asked).store
        count = store.count()
        store.check_writable()
        kinds = f"{count['dense']} dense networks, {count['pruned']} masks, {count['results']} results"
        yield Finding("store", f"{store.root}: {kinds}")
    except BadInput as error:
        remedy = "set RETRAINLAB_STORE to a folder that can be written"
        yield Finding("store", str(error), False, remedy, required=True)
    if store is None:
        return
    yield from _shelves(store)
    if (free := store.room()) < ROOM:
        remedy = "make room there, or set RETRAINLAB_STORE to a folder on another disk"
        yield Finding("store's disk", f"{free / 1e6:.0f} MB are free", False, remedy, True, "full")
    yield from _under_way(store)
    if names := store.names():
        looked = names if asked is not None else random.sample(names, min(SAMPLE, len(names)))
        yield from _files(store, looked, len(names))


def _under_way(store: "Store") -> Iterator[Finding]:
    """What failed when it was last tried, and what dead processes have left."""
    from retrainlab.study import claims, failures

    made = {path.stem for path in failures.left_over(store.root)}
    if failed := [failure.words for key, failure in failures.every(store.root) if key not in made]:
        remedy = f"`{command('results failures')}` says why; the command of their study tries them again"
        yield Finding(
            "failed runs", shortened([printable(words) for words in failed], NAMED), False, remedy, bad="failed"
        )
    if left := claims.left_over(store.root):
        yield Finding(
            "claims of work", f"{len(left)} files of processes that are gone; the next study clears them away"
        )


def _shelves(store: "Store") -> Iterator[Finding]:
    """The files of results that come with the project."""
    from retrainlab.study.older import Unfit

    for shelf in store.shelves:
        try:
            yield Finding("results of the project", f"{shelf.path}: {len(list(shelf.every()))} records, only read")
        except Unfit as why:
            yield Finding(
                "results of the project", f"{shelf.path}: {why}", False, f"git restore {shelf.path}", bad="damaged"
            )


def _files(store: "Store", looked: list[tuple[str, str]], stored: int) -> Iterator[Finding]:
    """How many of the stored files are what their checksums say, and which are not."""
    from retrainlab.study.older import Unfit

    sealed, damaged, closed = [], [], []
    progress = Progress("doctor", after=2.0)
    for number, (kind, key) in enumerate(looked):
        progress(number / len(looked), f"{number:,} of {len(looked):,} files")
        try:
            if (found := store.read(kind, key)) is not None:
                sealed.append(found.sealed)
        except Unfit as why:
            damaged.append(f"{kind}/{key} ({why})")
        except BadInput:
            closed.append(f"{kind}/{key}")
    progress.close()
    old = sealed.count(False)
    more = f", {old} of these without a checksum, from an earlier version" if old else ""
    yield Finding("stored files", f"{len(looked)} of {stored} looked at: {len(sealed)} whole{more}")
    if damaged:
        remedy = "give the study's command again: it sets them aside and makes them anew; or delete them"
        if len(looked) < stored:
            remedy += f"; `{command('doctor --store')}` looks at all"
        yield Finding("stored files", shortened(damaged, NAMED), False, remedy, True, "damaged")
    if closed:
        remedy = f"let their owner permit it: chmod -R a+rX {store.root}"
        words = f"may not be read: {shortened(closed, NAMED)}"
        yield Finding("stored files", words, False, remedy, True, "closed")


def _engines() -> Iterator[Finding]:
    from retrainlab.training.engine import TIMES, of_record, remembered
    from retrainlab.training.half import told

    known = remembered()
    for what, record in known.items():
        times = record[TIMES]
        found = f"{what}: {of_record(record)} ({times['0']} ms a step in the loop, {min(times.values())} at best)"
        yield Finding("engine", "; ".join(filter(None, [found, told(record)])))
    none = "none chosen yet; a study with some work measures which is fastest, and remembers"
    kept = f"remembered in {engines_file()}; without that file they are measured again"
    yield Finding("engines", kept if known else none)


def _browser() -> Iterator[Finding]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    remedy = "" if found else "any browser shows JupyterLab; on Debian: apt install chromium"
    yield Finding("browser", found or "none on the path", found is not None, remedy)
