"""What becomes of studies that are killed: the command itself, with two workers, at random moments of its life.

    python benchmarks/faults.py --kills 50

One study after the other is begun and killed with all of its processes, until so many kills are done; every other time one
of its workers alone is killed. Each study is given again until it is done. What was finished before a kill must be there
after it, the same bytes; and every table at the end must be that of a study that nothing disturbed. It prints what
came of it, one line a study, and ends with 1 if anything was lost, made again, or wrong.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from retrainlab.study.store import Store

SETTINGS = ["--model", "mlp", "--width", "8", "--epochs", "6", "--sparsity", "0.5", "0.9", "--budget", "0.5", "1"]
SETTINGS += ["--schedule", "FT", "LLR", "--seed", "0", "1", "2", "--engine", "loop"]
LONGEST = 12.0  # seconds from a beginning to a kill


@dataclass
class Seen:
    """Kills of studies and of workers; and what was finished and is not there, was made again, or is wrong."""

    studies: int = 0
    workers: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    said: list[str] = field(default_factory=list)


def begin(store: Path) -> subprocess.Popen:
    """Begin the study, as a user does, in a process group of its own."""
    command = [sys.executable, "-m", "retrainlab.cli", "study", *SETTINGS, "--jobs", "2", "--store", str(store)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, start_new_session=True, env=environment, text=True, **pipes)


def kept(store: Path) -> dict[Path, tuple[int, bytes]]:
    """The files of what is finished: each one's number, which is another once it is written again, and its content."""
    files = [p for kind in ("dense", "pruned", "results") for p in (store / kind).glob("[!.]*")]
    return {p: (p.stat().st_ino, p.read_bytes()) for p in files if p.with_suffix(".json").exists()}


def numbers(store: Path) -> dict[str, object]:
    """What the results say, but for how long they took."""
    found = {key: Store(store).get("results", key) for kind, key in Store(store).names() if kind == "results"}
    timed = ("images_per_second",)
    return {
        key: {n: x for n, x in one.result.scalars.items() if n not in timed} | one.result.curves
        for key, one in found.items()
        if one is not None
    }


def disturb(store: Path, calm: dict[str, object], kills: int, draw: random.Random, seen: Seen) -> None:
    """Begin the study in a new store again and again, and kill it or a worker, until it is done."""
    while True:
        before, study = kept(store), begin(store)
        most = time.monotonic() + draw.uniform(0, LONGEST) if seen.studies + seen.workers < kills else float("inf")
        while study.poll() is None and time.monotonic() < most:
            time.sleep(0.02)
        if study.poll() is None:
            children = psutil.Process(study.pid).children()
            if children and (seen.studies + seen.workers) % 2:
                draw.choice(children).send_signal(signal.SIGKILL)
                seen.workers += 1
            else:
                os.killpg(study.pid, signal.SIGKILL)
                seen.studies += 1
        words = study.communicate()[1].strip()
        after = kept(store)
        seen.lost += sum(path not in after or after[path][1] != content for path, (_, content) in before.items())
        seen.doubled += sum(path in after and after[path][0] != number for path, (number, _) in before.items())
        if study.returncode == 0:
            break
        if study.returncode > 0:
            seen.said.append(words.splitlines()[-1])
    seen.wrong += numbers(store) != calm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many studies and workers to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    seen, draw, number = Seen(), random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        first = begin(Path(folder) / "calm")
        if first.wait():
            print(first.stderr.read() if first.stderr else "")
            return 1
        calm = numbers(Path(folder) / "calm")
        while seen.studies + seen.workers < options.kills:
            number += 1
            disturb(Path(folder) / str(number), calm, options.kills, draw, seen)
            done = f"{seen.studies} studies and {seen.workers} workers killed"
            print(f"{number} done; {done}; {seen.lost} lost, {seen.doubled} made again, {seen.wrong} wrong", flush=True)
    for words in seen.said:
        print(f"said: {words}")
    return 1 if seen.lost or seen.doubled or seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
