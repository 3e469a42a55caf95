"""What a study costs besides its training, in the store and in time: measured with stand-in results (see `standins`).

    python benchmarks/scale.py [--folder FOLDER]

Stores of 1,000, 10,000 and 100,000 runs are filled (kept in FOLDER, if one is named, for the next time), listed, read and
drawn from. A line through the two smaller ones is the model of cost; what it predicts for the largest stands beside what
that took, in results/scale-DEVICE.json and on docs/cluster.md, with what it says of a million. Seconds are of the
processor: on a machine that does other work as well, those of the clock are too many.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from standins import RECIPE, experiments, fill, trained

from retrainlab import stats
from retrainlab.cli import main as cli
from retrainlab.config import Experiment
from retrainlab.device import describe, resolve
from retrainlab.figures import retraining
from retrainlab.paths import write_whole
from retrainlab.study import Results, index, run_study
from retrainlab.study.plan import Missing, tasks
from retrainlab.study.result import versions
from retrainlab.study.stages import common
from retrainlab.study.store import Store
from retrainlab.training.engine import forced

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "cluster.md"
MARKS = "<!-- scale: made by benchmarks/scale.py -->\n", "<!-- end of scale -->\n"
SIZES, MILLION = (1_000, 10_000, 100_000), 1_000_000
SAMPLE = 100  # results that are written once more, to the disk itself
BLOCK = 4096  # bytes of which a file takes whole ones
WORDS = {
    "grid": "the list of its experiments",
    "plan": "seeing that all is missing, cut into tasks",
    "write": "writing the results, with the disk's own word for each (fsync)",
    "first": "reading all results for the first time, which makes the index",
    "again": "seeing that all is there",
    "study": "the table of a study that is all there",
    "figure": "a figure from that table",
    "count": "counting what is stored",
    "ls": "`results ls`",
    "filter": "`results ls --schedule LLR --sparsity 0.9 --budget 0.1`",
    "show": "`results show KEY`",
    "doctor": "`doctor`",
    "check": "`doctor --store`, which reads every file",
}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the processor and of the clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def told(*arguments: str) -> None:
    """Carry out a command, and hide what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        cli(arguments)


def drawn(table) -> None:
    """Figure 3 from a study's table, as an image."""
    shown = stats.compared(table, ["sparsity", "budget"], "test_accuracy", compare="schedule", baseline="LLR")
    whole = stats.overall(table, "test_accuracy", compare="schedule", baseline="LLR")
    shown = stats.as_saved(shown.merge(whole, on="schedule", how="left").assign(dense=0.97))
    retraining.budgets(shown).savefig(io.BytesIO(), format="png")


def planned(asked: Sequence[Experiment], out: dict) -> None:
    """Plan a study in an empty store, and note its tasks: what a scheduler is sent."""
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as empty:
        kept = Results(Store(Path(empty)))
        missing = Missing.of(asked, kept)
        todo = tasks(missing, {common(RECIPE): forced("batched", cpu)}, 2, kept, cpu)
    out |= {"tasks": len(todo), "sent": sum(len(pickle.dumps(task.args)) for task in todo)}


def written(store: Store, asked: Sequence[Experiment]) -> dict[str, float]:
    """What writing all results takes, by a sample that is written once more."""
    results = Results(store)
    some = asked[:: max(1, len(asked) // SAMPLE)]
    found = results.many({results.key(e): e for e in some})
    took = timed(lambda: [results.put(e, found[results.key(e)]) for e in some])
    return {name: seconds * len(asked) / len(some) for name, seconds in took.items()}


def sizes(store: Store) -> dict[str, int]:
    """Bytes in the store: of the files' content and of the blocks that it fills."""
    out = {"bytes": 0, "blocks": 0}
    for path in (path for path in store.root.rglob("*") if path.is_file() and path.name != index.FILE):
        size = path.stat().st_size
        out["bytes"] += size
        out["blocks"] += -(-size // BLOCK) * BLOCK
    return out | {"index": (store.root / index.FILE).stat().st_size if (store.root / index.FILE).exists() else 0}


def measured(store: Store, runs: int, forms) -> dict:
    """Everything of a study of so many runs; its store is filled first, if it is not full."""
    record: dict = {"seconds": {}, "revision": versions()["revision"]}

    def measure(name: str, work: Callable[[], object]) -> None:
        record["seconds"][name] = timed(work)
        print(f"{runs:,} {name}: {record['seconds'][name]}", flush=True)

    measure("grid", lambda: experiments(runs))
    asked = experiments(runs)
    if store.count()["results"] < runs:
        usual, os.fsync = os.fsync, lambda number: None  # the disk's word takes long, and is measured by `written`
        for _ in fill(store, asked, forms):
            pass
        os.fsync = usual
    Results(store).fingerprint(RECIPE)  # loads what reads images
    measure("plan", lambda: planned(asked, record))
    (store.root / index.FILE).unlink(missing_ok=True)
    time.sleep(index.YOUNG / 1e9)
    measure("first", lambda: store.results())
    measure("again", lambda: Missing.of(asked, Results(store)))
    tables = []
    measure("study", lambda: tables.append(run_study(asked, store=store, stored_only=True)))
    measure("figure", lambda: drawn(tables[0]))
    place, key = ["--store", str(store.root)], store.names()[-1][1]
    measure("count", store.count)
    measure("ls", lambda: told("results", "ls", *place))
    some = ["--schedule", "LLR", "--sparsity", "0.9", "--budget", "0.1"]
    measure("filter", lambda: told("results", "ls", *some, *place))
    measure("show", lambda: told("results", "show", key, *place))
    with using(store.root):
        measure("doctor", lambda: told("doctor"))
    measure("check", lambda: told("doctor", *place))
    record |= sizes(store)
    record["seconds"]["write"] = written(store, asked)
    return record


@contextlib.contextmanager
def using(root: Path):
    """Let that store be the project's own."""
    before = os.environ.get("RETRAINLAB_STORE")
    os.environ["RETRAINLAB_STORE"] = str(root)
    try:
        yield
    finally:
        os.environ.pop("RETRAINLAB_STORE") if before is None else os.environ.update(RETRAINLAB_STORE=before)


def model(found: dict[str, dict]) -> Callable[[Callable[[dict], float], int], float]:
    """The model of cost: what a quantity of the records is for so many runs, on the line through the two smaller sizes."""

    def predicted(quantity: Callable[[dict], float], runs: int) -> float:
        (few, low), (many, high) = ((size, quantity(found[str(size)])) for size in SIZES[:2])
        each = max(0.0, high - low) / (many - few)
        return max(0.0, low - each * few) + each * runs

    return predicted


def table(record: dict) -> str:
    """The page's table."""
    found, largest = record["stores"], SIZES[-1]
    predicted = model(found)
    lines = [f"| | {SIZES[1]:,} runs | {largest:,}, predicted | {largest:,}, measured | a million, predicted |"]
    lines.append("|---|---|---|---|---|")

    def line(words: str, quantity: Callable[[dict], float], form: Callable[[float], str]) -> None:
        cells = [quantity(found[str(SIZES[1])]), predicted(quantity, largest), quantity(found[str(largest)])]
        lines.append("| " + " | ".join([words, *map(form, [*cells, predicted(quantity, MILLION)])]) + " |")

    for name, words in WORDS.items():
        line(words, lambda one, name=name: one["seconds"][name]["cpu"], seconds)
    line("files in the store", lambda one: one["bytes"], size)
    line(f"the same in blocks of {BLOCK} bytes", lambda one: one["blocks"], size)
    line("the index", lambda one: one["index"], size)
    line("tasks for two workers", lambda one: one["tasks"], lambda x: f"{x:,.0f}")
    line("what a scheduler is sent with them", lambda one: one["sent"], size)
    where = f"{record['device']}, torch {record['versions']['torch']}"
    revisions = ", ".join(f"{int(runs):,} runs: revision {one['revision']}" for runs, one in found.items())
    return "\n".join([*lines, "", f"Seconds of one processor, measured on {where} ({revisions}).\n"])


def seconds(number: float) -> str:
    """A time as a reader takes it in."""
    return f"{number:.2g} s" if number < 10 else f"{number:,.0f} s" if number < 600 else f"{number / 60:,.0f} min"


def size(number: float) -> str:
    """A number of bytes likewise."""
    return f"{number / 1e6:,.1f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="", help="where the stores are kept for the next time; nowhere if empty")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        forms = trained(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        measured(Store(folder / "warm"), 100, forms)  # what is loaded and compiled once
        found = {str(runs): measured(Store(folder / str(runs)), runs, forms) for runs in SIZES}
    device = describe(resolve("cpu"))
    record = {"device": device, "versions": versions(), "stores": found}
    path = RESULTS / f"scale-{device.replace(', ', '-').replace(' ', '-')}.json"
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
    before, rest = PAGE.read_text().split(MARKS[0])
    text = before + MARKS[0] + table(record) + MARKS[1] + rest.split(MARKS[1])[1]
    write_whole(PAGE, lambda temporary: temporary.write_text(text))
    print(table(record))


if __name__ == "__main__":
    sys.exit(main())
