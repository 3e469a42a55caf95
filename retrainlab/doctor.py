"""`retrainlab doctor`: what is on this machine, and for each thing missing how to get it."""

import os
import platform
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from textwrap import wrap
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput, shortened
from retrainlab.paths import lend_places

if TYPE_CHECKING:
    from retrainlab.study.store import Store

NAMED = 10  # stored files that a finding names
SAMPLE = 50  # stored files that are looked at unless all are asked for
ROOM = 200e6  # bytes without which a store is nearly full
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox", "microsoft-edge")


@dataclass(frozen=True)
class Finding:
    """One line of the table. good: usable as it is; required: nothing runs without it; bad: the word for it if not good."""

    what: str
    found: str
    good: bool = True
    remedy: str = ""
    required: bool = False
    bad: str = "missing"


def examine(store: str | None = None) -> list[Finding]:
    """Look at everything; a check that fails is itself a finding. store: a folder of results of which every file is read,
    empty for the project's own; None: a sample of the project's own."""
    checks: list[Callable[[], list[Finding]]] = [
        *(_python, _torch, _packages, _home, _data, _kernel),
        lambda: _store(store),
        *(_engines, _browser),
    ]
    return [finding for check in checks for finding in check()]


def table(findings: list[Finding]) -> str:
    """The findings as text, with the remedies below what is missing."""
    width = max(len(f.what) for f in findings)
    lines = []
    for f in findings:
        mark = "ok" if f.good else f.bad.upper() if f.required else f.bad
        lines += [
            f"{f.what:<{width}}  {mark:<7}  {line}" if i == 0 else f"{'':<{width}}           {line}"
            for i, line in enumerate(wrap(f.found, 100 - width) or [""])
        ]
        if f.remedy:
            lines += [f"{'':<{width}}           -> {f.remedy}"]
    return "\n".join(lines)


def version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if good else "install Python 3.11, 3.12 or 3.13 and run `make setup` again"
    return [Finding("Python", f"{platform.python_version()} ({sys.executable})", good, remedy, required=True)]


def _torch() -> list[Finding]:
    torch_version, vision = version("torch"), version("torchvision")
    if torch_version is None:
        return [Finding("torch", "not installed", False, "make setup", required=True)]
    from retrainlab.device import describe, memory, resolve

    out = [Finding("torch", torch_version)]
    if vision is None:
        out.append(Finding("torchvision", "not installed", False, "pip install torchvision"))
    else:
        try:
            import torchvision  # noqa: F401

            out.append(Finding("torchvision", f"{vision}, loads with this torch"))
        except Exception as error:
            found = f"{vision} does not load with torch {torch_version} ({str(error).splitlines()[0]})"
            remedy = "install the two together: pip install --upgrade torch torchvision"
            out.append(Finding("torchvision", found, False, remedy))
    device = resolve("auto")
    remedy = "" if device.type == "cuda" else "optional: with an NVIDIA GPU and its driver, torch finds it by itself"
    found = describe(device) if device.type == "cuda" else f"{describe(device)}, {memory()}"
    return [*out, Finding("device", found, True, remedy)]


def _packages() -> list[Finding]:
    core = ("numpy", "pandas", "scipy", "scikit-learn", "safetensors")
    notebooks = ("jupyterlab", "ipywidgets", "matplotlib", "seaborn", "papermill")
    out = []
    for what, names, required in (("computing", core, True), ("notebooks", notebooks, False)):
        missing = [n for n in names if version(n) is None]
        found = ", ".join(f"{n} {version(n) or 'not installed'}" for n in names)
        out.append(Finding(what, found, not missing, f"pip install {' '.join(missing)}" if missing else "", required))
    return out


def _home() -> list[Finding]:
    from retrainlab.paths import home

    own = home()
    if own is not None and os.access(own, os.W_OK):
        return []
    found = f"{own} cannot be written" if own else "there is none"
    remedy = (
        "set HOME to a folder of yours; without one, data sets need RETRAINLAB_DATA, and engines are measured each time"
    )
    return [Finding("home directory", found, False, remedy)]


def _data() -> list[Finding]:
    from retrainlab.data.sources import BUILT_IN, missing
    from retrainlab.paths import data_root

    lacking, root = missing(), data_root()
    nowhere = f"not in {root}" if root else "no folder for it"
    return [
        Finding(f"data: {name}", nowhere, False, lacking[name])
        if name in lacking
        else Finding(f"data: {name}", f"{known.where()}: {known.holds}")
        for name, known in BUILT_IN.items()
    ]


def folder(name: str) -> Finding:
    """What a folder of images holds, once each of them has been read."""
    from retrainlab.data import sources

    try:
        sources.source(name, 4).read()
        return Finding("data: folder", sources.content(name))
    except BadInput as error:
        return Finding("data: folder", str(error), False, required=True)


def _kernel() -> list[Finding]:
    lend_places()
    remedy = "make setup, then run the notebooks with this environment's jupyter"
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:
        return [Finding("kernel python3", f"none ({error})", False, remedy)]
    ours = command in ("python", "python3") or command == sys.executable  # Jupyter takes its own for a bare name
    return [Finding("kernel python3", command, ours, "" if ours else remedy)]


def _store(asked: str | None) -> list[Finding]:
    from retrainlab.study.results import Results

    store = None
    if asked and not os.path.isdir(asked):
        return [Finding("store", f"there is no folder {asked}", False, "name one that is there", required=True)]
    try:
        store = Results.at(asked).store
        count = store.count()
        found = f"{store.root}: {count['dense']} dense networks, {count['pruned']} masks, {count['results']} results"
        store.check_writable()
        out = [Finding("store", found)]
    except BadInput as error:
        remedy = "set RETRAINLAB_STORE to a folder that can be written"
        out = [Finding("store", str(error), False, remedy, required=True)]
    if store is None:
        return out
    if (free := store.room()) < ROOM:
        remedy = "make room there, or set RETRAINLAB_STORE to a folder on another disk"
        out.append(Finding("store's disk", f"{free / 1e6:.0f} MB are free", False, remedy, True, "full"))
    names = store.names()
    looked = names if asked is not None else random.sample(names, min(SAMPLE, len(names)))
    return [*out, *_files(store, looked, len(names))] if looked else out


def _files(store: "Store", looked: list[tuple[str, str]], all_: int) -> list[Finding]:
    """How many of the stored files are what their checksums say, and which are not."""
    from retrainlab.paths import command
    from retrainlab.study.older import Unfit

    sealed, damaged, closed = [], [], []
    for kind, key in looked:
        try:
            if (found := store.read(kind, key)) is not None:
                sealed.append(found.sealed)
        except Unfit as why:
            damaged.append(f"{kind}/{key} ({why})")
        except BadInput:
            closed.append(f"{kind}/{key}")
    words = [f"{len(looked)} of {all_} looked at: {len(sealed)} whole"]
    if old := sealed.count(False):
        words.append(f"{old} of these without a checksum, from an earlier version")
    out = [Finding("stored files", ", ".join(words))]
    if damaged:
        remedy = "give the study's command again: it sets them aside and makes them anew; or delete them"
        if len(looked) < all_:
            remedy += f"; `{command('doctor --store')}` looks at all"
        out.append(Finding("stored files", shortened(damaged, NAMED), False, remedy, True, "damaged"))
    if closed:
        remedy = f"let their owner permit it: chmod -R a+rX {store.root}"
        out.append(
            Finding("stored files", f"may not be read: {shortened(closed, NAMED)}", False, remedy, True, "closed")
        )
    return out


def _engines() -> list[Finding]:
    from retrainlab.paths import engines_file
    from retrainlab.training.engine import TIMES, of_record, remembered

    known = remembered()
    if not known:
        return [Finding("engines", "none chosen yet; a study with some work measures which is fastest, and remembers")]
    out = []
    for what, record in known.items():
        times = record[TIMES]
        found = f"{what}: {of_record(record)} ({times['0']} ms a step in the loop, {min(times.values())} at best)"
        out.append(Finding("engine", found))
    return [*out, Finding("engines", f"remembered in {engines_file()}; without that file they are measured again")]


def _browser() -> list[Finding]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    remedy = "" if found else "any browser shows JupyterLab; on Debian: apt install chromium"
    return [Finding("browser", found or "none on the path", found is not None, remedy)]
