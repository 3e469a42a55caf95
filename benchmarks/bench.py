"""How fast is the engine, and beside what? Measured in one run on one machine, for results/DEVICE.json and docs/speed.md.

    python benchmarks/bench.py [--device auto] [--only steps study scaling live grid precision figures]

steps      the usual loop, our plain loop and the engine with more and more members, on the same work; peak memory; what a
           step is made of; on CUDA for five networks, in float32 and bfloat16, with the share of the floor
study      a whole study of retrainings and a race of six schedules, evaluations included, beside the usual loop
scaling    the engine against members, width, depth and batch
live       what a callback that sees every member's curve costs
grid       figure 3's whole grid in a study, and a part of it through the usual loop
precision  accuracy in bfloat16 less that in float32, paired over seeds
figures    `retrainlab figures`, with an empty store and again

Ratios are of times measured in one run. Every clock is read when the device is done; the first steps do not count. What is
measured is written after each row; a row or section that fails is told, and the rest goes on.

Six minutes of a GPU are spent so, by default; rows for which there is no time are left out, the least telling first:

    steps study   150 s of rows, of which 90 s compile; 15 s for the parts of a step; 65 s of study: 4 minutes
    precision     CIFAR-10 has to lie in $RETRAINLAB_DATA: 2 minutes
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import sections
import torch
from steps import Limits, best_workers, steps
from study import study
from usual import usually
from ways import cleared

from retrainlab.checks import BadInput
from retrainlab.device import describe, resolve
from retrainlab.paths import data_root, write_whole

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ORDER = ("steps", "study", "scaling", "live", "grid", "precision", "figures")
SECONDS = {  # of a whole section, about
    "cpu": dict(zip(ORDER, (240, 60, 240, 60, 300, 120, 720))),
    "cuda": dict(zip(ORDER, (180, 60, 120, 30, 200, 110, 720))),
}
LIMITS = {"cpu": Limits(2.0, math.inf, math.inf), "cuda": Limits(0.6, 150.0, 90.0)}


def measurements(name: str, device: torch.device, limits: Limits, record: dict) -> Iterator[dict]:
    """What a section has found so far, again and again; record: what the others have found."""
    own: dict[str, Callable[[], Iterator[dict]]] = {
        "steps": lambda: steps(device, limits),
        "study": lambda: study(device, [usually(), best_workers(_first_rows(record)) or usually()]),
        "scaling": lambda: sections.scaling(device, limits.seconds),
        "live": lambda: sections.live(device),
        "grid": lambda: sections.whole_grid(device),
        "precision": lambda: sections.precision(device),
        "figures": lambda: sections.figures(device),
    }
    return own[name]()


def _first_rows(record: dict) -> list[dict]:
    cases = record.get("steps", {}).get("cases", [])
    rows = cases[0]["rows"] if cases else []
    return rows if all("workers" in row for row in rows if row["kind"] == "usual") else []


def measure(names: list[str], device: torch.device, limits: Limits, keep: Callable[[str, dict], dict]) -> list[str]:
    """Go through sections; `keep` is told what each has found and gives the whole record. Returns those that failed."""
    failed, record = [], keep("", {})
    for place, name in enumerate(names):
        left = sum(SECONDS[device.type][n] for n in names[place:])
        print(f"\n{name}: about {SECONDS[device.type][name]} s, {left} s with what follows", flush=True)
        began = time.perf_counter()
        cleared(device)
        try:
            for found in measurements(name, device, limits, record):
                record = keep(name, found)
        except BadInput as error:
            print(f"{name} is left out: {error}", flush=True)
            failed.append(name)
        except Exception:  # the other sections do not depend on it
            traceback.print_exc()
            failed.append(name)
        print(f"{name} took {time.perf_counter() - began:.0f} s", flush=True)
    return failed


def revision() -> str:
    """Which code is measured: git's short name of it, with `-dirty` where files differ; `unknown` without git's history."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """Which processor this is: `AMD EPYC, family 26, model 2, AVX512`; the last is what torch computes with."""
    told = {}
    with suppress(OSError):  # only Linux tells it so
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    parts = [told.get("model name", platform.machine())]
    parts += [f"{word} {told[name]}" for name, word in (("cpu family", "family"), ("model", "model")) if name in told]
    return ", ".join([*parts, torch.backends.cpu.get_cpu_capability()])


def rounded(value):
    """The value, whatever JSON it is, with four digits of each number that is not whole; what is not finite is None."""
    if isinstance(value, dict):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def main() -> int:
    """Measure, print, and keep each section in a file of the device's; 1 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, metavar="SECTION", help=", ".join(ORDER))
    parser.add_argument("--seconds", type=float, help="that a measurement takes, about")
    parser.add_argument("--limit", type=float, help="seconds for all rows of steps")
    parser.add_argument("--compile-seconds", type=float, help="seconds for those rows of steps that compile")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--revision", help="name of the code that is measured, where git does not know it")
    options = parser.parse_args()
    device = resolve(options.device)
    usual = LIMITS[device.type]
    asked = zip((options.seconds, options.limit, options.compile_seconds), (usual.seconds, usual.whole, usual.compiled))
    limits = Limits(*(own if given is None else given for given, own in asked))
    name = describe(device) + (f", {processor()}" if device.type == "cpu" else "")  # CPUs of as many cores differ
    path = options.output / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record |= {"device": describe(device), "processor": processor(), "torch": torch.__version__}
    code = options.revision or revision()

    def keep(name: str, found: dict) -> dict:
        if name:
            record[name] = rounded(found)
            record["revisions"] = record.get("revisions", {}) | {name: code}
            write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
        return record

    words = "on a CPU ours uses one torch thread, the usual loop torch's default"
    print(f"{describe(device)}; torch {torch.__version__}; revision {code}; {words}")
    with tempfile.TemporaryDirectory() as folder:  # for a cache of its own: no engine is remembered from before
        if (root := data_root()) is not None:
            os.environ["RETRAINLAB_DATA"] = str(root)
        os.environ["XDG_CACHE_HOME"] = folder
        failed = measure(list(options.only), device, limits, keep)
    print(f"\nwritten to {path}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
