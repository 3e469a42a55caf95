"""A room of participants on one machine: how long each waits, and what memory each kernel takes, alone and all at once.

    python benchmarks/room.py [--kernels 5]

ready   from the start of a kernel to the race explorer with its network, which is stored
stored  a race that is stored
race    a race of six schedules that nobody has run before, a tenth of the dense run long

Every kernel has a store of its own, one thread for torch, and reads what one file of results holds, as docs/hosting.md sets
a room up. Memory is the proportional set size: what kernels share counts once, in equal parts. Written to
results/room-DEVICE.json, from which the page's table is made.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from jupyter_client.manager import start_new_kernel

from retrainlab.checks import check_number
from retrainlab.device import describe, resolve
from retrainlab.paths import write_whole
from retrainlab.study.result import versions

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "hosting.md"
STEPS = {
    "ready": """
from retrainlab.explore.apps.race import Race, Settings
from retrainlab.study.results import Results
app = Race(Settings(), Results.at({shared!r}), "cpu")
assert app.desk.worker.wait() and app.network is not None
""",
    "stored": "app.start(); assert app.desk.worker.wait() and app.race.whole",
    "race": """
app.close()
app = Race(Settings(budget=0.1, seed={seed}), Results.at({own!r}), "cpu")
app.desk.worker.wait(); app.start(); assert app.desk.worker.wait() and app.race.whole
""",
}
WORDS = {
    "ready": "from a kernel's start to the explorer with its network",
    "stored": "a stored race",
    "race": "a new network, pruned, and a new race of six schedules",
}


def kernel(number: int, shared: Path, folder: Path, together: Callable[[], int]) -> dict[str, float]:
    """Seconds of each step in a kernel of its own, and its memory in MiB at the end. together: waits until all kernels are
    at the same step."""
    own = {"OMP_NUM_THREADS": "1", "RETRAINLAB_STORE": str(folder / f"own-{number}")}
    out: dict[str, float] = {}
    together()
    begun = time.perf_counter()
    manager, client = start_new_kernel(kernel_name="python3", env=os.environ | own)
    try:
        for name, code in STEPS.items():
            if name != "ready":
                together()
                begun = time.perf_counter()
            reply = client.execute_interactive(
                code.format(shared=str(shared), own=own["RETRAINLAB_STORE"], seed=number), timeout=900
            )
            if reply["content"]["status"] != "ok":
                raise RuntimeError(f"{name}: {reply['content']['evalue']}")
            out[name] = round(time.perf_counter() - begun, 2)
        together()  # what kernels share is divided by all of them
        out["mib"] = round(memory(manager.provisioner.pid))
        together()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return out


def memory(process: int) -> float:
    """The proportional set size of a process, in MiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measured(count: int, shared: Path) -> dict[str, list[float]]:
    """What `count` kernels at once have taken, each step a number for each kernel."""
    barrier = Barrier(count)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:
        rows = list(pool.map(lambda i: kernel(i, shared, Path(folder), barrier.wait), range(count)))
    return {name: [row[name] for row in rows] for name in rows[0]}


def filled(shared: Path) -> None:
    """Make the network and the race that the room finds stored."""
    from retrainlab.explore.views import race
    from retrainlab.study.run import run_study

    run_study(race.experiments(race.Settings()), store=shared, jobs=1)


def table(record: dict) -> str:
    """The page's table."""
    several = max(map(int, record["kernels"]))
    alone, all_ = record["kernels"]["1"], record["kernels"][str(several)]
    lines = [f"| | one kernel | {several} kernels at once, the slowest |", "|---|---|---|"]
    lines += [f"| {words} | {max(alone[name]):.0f} s | {max(all_[name]):.0f} s |" for name, words in WORDS.items()]
    lines.append(f"| memory of each | {max(alone['mib']):,.0f} MiB | {max(all_['mib']):,.0f} MiB |")
    return "\n".join([*lines, "", f"Measured on {record['device']}, torch {record['versions']['torch']}."])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=5, help="how many at once")
    options = parser.parse_args(arguments)
    check_number(options.kernels, "number of kernels", low=2, high=100)
    with tempfile.TemporaryDirectory() as folder:
        filled(shared := Path(folder) / "shared")
        found = {str(count): measured(count, shared) for count in (1, options.kernels)}
    device = describe(resolve("cpu"))
    record = {"device": device, "versions": versions(), "kernels": found}
    path = RESULTS / f"room-{device.replace(', ', '-').replace(' ', '-')}.json"
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
    page = PAGE.read_text()
    before, mark, rest = page.partition("<!-- room: made by benchmarks/room.py -->\n")
    _, end, after = rest.partition("<!-- end of room -->")
    text = f"{before}{mark}{table(record)}\n{end}{after}"
    write_whole(PAGE, lambda temporary: temporary.write_text(text))
    print(table(record))


if __name__ == "__main__":
    sys.exit(main())
