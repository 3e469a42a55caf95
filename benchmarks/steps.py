"""The tables of speed: each network of a device, every way to train it, the most telling first."""

import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import parts
import torch
import usual
import ways
from cases import CASES, Case
from floor import ceilings, floor
from ways import Way

from retrainlab.device import out_of_memory

# seconds of a row, before any is known
COSTS = {"usual": 5.0, "loop": 3.0, "batched": 3.0, "graph": 3.0, "compiled": 25.0}
# numbers of members, and the precision, of the steps that are taken apart
SPLIT = {"cpu": ((8,), "float32"), "cuda": ((1, 16), "bfloat16")}
Rows = list[dict]


@dataclass(frozen=True)
class Limits:
    """seconds: of one measurement, about. whole: of all of them. compiled: of those that compile. What does not fit is left
    out."""

    seconds: float
    whole: float
    compiled: float


def plan(kind: str) -> list[tuple[Case, Way]]:
    """Every row for a kind of device, in the order in which they are measured."""
    first, *others = CASES[kind]
    loaded = [Way("usual", workers=n) for n in [usual.usually(), *usual.worth_trying()]]
    if kind == "cpu":
        return [(first, w) for w in (*loaded, Way("loop"), *(Way("batched", m) for m in (1, 4, 8, 16, 64)))]
    half = "bfloat16"
    rows = [(first, way) for way in (*loaded, Way("loop"))]
    rows += [(first, Way("graph", m, half)) for m in (16, 1, 4, 64)]
    rows += [(first, Way("compiled", m, half)) for m in (16, 1)]
    rows += [(first, Way("graph", 16, half, unfolded=False))]
    rows += [(first, Way("graph", m, half)) for m in (2, 8, 32)] + [(first, Way("graph", m)) for m in (1, 16, 64)]
    rows += [(first, Way("compiled", 64, half))]
    for case in others:
        rows += [(case, way) for way in (loaded[0], Way("graph", 1, half), Way("graph", 16, half))]
    for case in others:
        rows += [(case, way) for way in (Way("graph", 4, half), Way("graph", 64, half), Way("usual", workers=None))]
    rows += [(first, Way("compiled", 4, half)), *((case, Way("compiled", None, half)) for case in others)]
    return rows + [(first, Way("compiled", 16, half, unfolded=False))]


@dataclass
class Progress:
    """What is measured so far, by network, and what of the limits is used. full: where memory ended."""

    limits: Limits
    rows: dict[Case, Rows] = field(default_factory=dict)
    full: dict[tuple[Case, str], int] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.perf_counter())
    took: list[tuple[str, float]] = field(default_factory=list)

    @property
    def best(self) -> int | None:
        """The number of workers that was best for the first network."""
        return best_workers(next(iter(self.rows.values()), []))

    def settled(self, case: Case, way: Way) -> Way | None:
        """The way with numbers in place of None; None for one that is measured already, or cannot be."""
        if way.kind == "usual" and way.workers is None:
            way = replace(way, workers=usual.usually() if self.best is None else self.best)
        if way.members is None:
            alike = [r for r in self.rows.get(case, []) if (r["kind"], r["precision"]) == ("graph", way.precision)]
            if not alike:
                return None
            way = replace(way, members=min(alike, key=_ms)["members"])
        there = any(way.told.items() <= row.items() for row in self.rows.get(case, []))
        return None if there or way.members >= self.full.get((case, way.precision), way.members + 1) else way

    def cost(self, kind: str) -> float:
        """The seconds that a row of that kind takes, by the mean so far."""
        known = [seconds for what, seconds in self.took if what == kind]
        return statistics.fmean(known) if known else COSTS[kind]

    def fits(self, way: Way) -> bool:
        """Whether there is time for it."""
        compiled = sum(seconds for what, seconds in self.took if what == "compiled")
        if way.kind == "compiled" and compiled + self.cost("compiled") > self.limits.compiled:
            return False
        return time.perf_counter() - self.began + self.cost(way.kind) <= self.limits.whole

    def left(self, rest: list[tuple[Case, Way]]) -> float:
        """Seconds that what is left takes, about, within the limits."""
        free = self.limits.compiled - sum(seconds for what, seconds in self.took if what == "compiled")
        compiled = min(sum(self.cost("compiled") for _, way in rest if way.kind == "compiled"), max(0.0, free))
        others = sum(self.cost(way.kind) for _, way in rest if way.kind != "compiled")
        return min(compiled + others, self.limits.whole - (time.perf_counter() - self.began))


def steps(device: torch.device, limits: Limits) -> Iterator[dict]:
    """Each network on the device, every way to train it, then what a step is made of. What there is after each row."""
    progress, todo, out = Progress(limits), plan(device.type), {}
    if device.type == "cuda":
        out["ceilings"] = ceilings(device)
    for place, (case, asked) in enumerate(todo):
        if (way := progress.settled(case, asked)) is None:
            continue
        if not progress.fits(way):
            print(f"{case}; {way}: left out, there is no time for it", flush=True)
            continue
        began = time.perf_counter()
        row = _tried(lambda: ways.measure(way, case, str(device), limits.seconds), f"{case}; {way}")  # noqa: B023
        progress.took.append((way.kind, time.perf_counter() - began))
        if row == "full":
            progress.full[case, way.precision] = way.members
        if not isinstance(row, dict):
            continue
        progress.rows.setdefault(case, []).append(row)
        out["cases"] = [
            {"case": str(c), "rows": _told(rows, c, out, progress.best)} for c, rows in progress.rows.items()
        ]
        print(f"{case.model:<9} {_line(row)}   (about {progress.left(todo[place + 1 :]):.0f} s left)", flush=True)
        yield out
    case, (members, precision) = CASES[device.type][0], SPLIT[device.type]
    ways.cleared(device)  # for a process of its own beside this one
    found = _tried(lambda: parts.measure(case, members, precision, str(device)), f"the parts of a step of {case}")
    if isinstance(found, list):
        for row in found:
            if "ceilings" in out:
                least = 1e3 * row["members"] * floor(case, precision, out["ceilings"])
                row["share_of_floor"] = least / row["step"]
            print(f"{case.model:<9} {row}", flush=True)
        yield out | {"parts": {"case": str(case), "rows": found}}


def _tried(work: Callable[[], object], what: str) -> object:
    """What `work` gives; "full" if memory ran out, None if it failed otherwise, and both are told."""
    try:
        return work()
    except Exception as error:  # one row's failure is not the others'
        if out_of_memory(error):
            print(f"{what}: no memory", flush=True)
            return "full"
        print(f"{what}: failed", flush=True)
        traceback.print_exc(limit=-4)
        return None


def _ms(row: dict) -> float:
    return row["ms_per_member_step"]


def best_workers(rows: Rows) -> int | None:
    """The number of workers with which the usual loop was fastest; None if it was not measured."""
    loops = [r for r in rows if r["kind"] == "usual"]
    return min(loops, key=_ms)["workers"] if loops else None


def _place(row: dict) -> tuple:
    kind, unfolded = list(COSTS).index(row["kind"]), row.get("unfolded", True)
    return kind, row["precision"], not unfolded, row["members"], row.get("workers", 0)


def _told(rows: Rows, case: Case, out: dict, best: int | None) -> Rows:
    """The rows in the table's order, each beside the usual loop as it is usual and at its best, and beside the floor. best:
    the number of workers without which nothing is known of its best."""
    rows = sorted(rows, key=_place)
    loops = [r for r in rows if r["kind"] == "usual"]
    named = [r for r in loops if r["workers"] == usual.usually()]
    for row in rows:
        if named:
            row["times_usual"] = _ms(named[0]) / _ms(row)
        if any(r["workers"] == best for r in loops):
            row["times_best"] = min(map(_ms, loops)) / _ms(row)
        if "ceilings" in out:
            row["share_of_floor"] = 1e3 * floor(case, row["precision"], out["ceilings"]) / _ms(row)
    return rows


def _line(row: dict) -> str:
    members = f"{row['workers']}w" if row["kind"] == "usual" else row["members"]
    names = {"times_usual": "usual", "times_best": "its best"}
    beside = "".join(f" {row[name]:6.1f} x {word}" for name, word in names.items() if name in row)
    unfolded = "" if row.get("unfolded", True) else " not unfolded"
    return (
        f"{row['kind']:<8} {members:>3} {row['precision']:<9}{_ms(row):9.3f} ms/member-step {row['images_per_second']:9.0f} "
        f"images/s {row['peak_mib']:7.0f} MiB{beside}{unfolded}"
    )
