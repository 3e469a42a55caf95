"""Invented runs of the figures that claims are tested on, in which every claim is true unless something is changed."""

from itertools import product

import numpy as np
import pandas as pd

from retrainlab.claims import others, schedules, table
from retrainlab.figures import presets
from retrainlab.study.changes import BASE, PERP

SEEDS = range(10)
NOISE = 0.1  # points


def _frame(rows: list[dict], seed: int = 0) -> pd.DataFrame:
    """Rows with `points`, as runs with test accuracies to which a little noise is added."""
    frame = pd.DataFrame(rows)
    noise = np.random.default_rng(seed).normal(0, NOISE, len(frame))
    frame["test_accuracy"] = (80 + frame.pop("points") + noise) / 100
    return frame


def budgets(lrw_twin: bool = True, **own: float) -> pd.DataFrame:
    """Figure 3. own: points to add to a schedule at budgets of up to 10 %; `later_`NAME: at longer ones."""
    short = {"FT": -10.0, "LRW": -10.0, "SLR": -0.1, "CLR": -0.1, "LLR": 0.0, "ALLR": 0.0}
    later = {"FT": -4.0, "LRW": -4.0, "SLR": 0.0, "CLR": 0.0, "LLR": 0.0, "ALLR": 0.0}
    rows = []
    for seed, s, b, name in product(SEEDS, (0.8, 0.95), (0.05, 0.1, 0.5), short):
        points = short[name] + own.get(name, 0) if b <= 0.1 else later[name] + own.get(f"later_{name}", 0)
        points += 2.0 * (name == "ALLR" and s == 0.8 and b <= 0.1) + 1.5 * (name == "LRW" and b > 0.25)
        rows.append({"seed": seed, "sparsity": s, "budget": b, "schedule": name, "points": points})
    frame = _frame(rows)
    frame["test_loss"] = 1 - frame["test_accuracy"]
    if lrw_twin:
        within = frame["budget"] <= 0.25
        twins = frame[within & (frame["schedule"] == "FT")]
        for column in ("test_accuracy", "test_loss"):
            frame.loc[within & (frame["schedule"] == "LRW"), column] = twins[column].to_numpy()
    return frame


def best_lr(sparsity: float = 1.0, budget: float = 1.0, allr: float = 0.0) -> pd.DataFrame:
    """Figure 4. sparsity, budget: doublings of the best start from the lowest to the highest, and more of both on some
    seeds; allr: its points less the best's."""
    rows = []
    for seed, s, b in product(SEEDS, (0.5, 0.98), (0.05, 0.25)):
        top = (sparsity * (s > 0.9) + budget * (b > 0.1)) * (1 + (seed % 3 == 0))
        for k in range(-4, 5):
            lr = 0.1 * 2.0**k
            told = {"schedule": "LLR"} if k == 0 else {"schedule": "linear", "initial_lr": lr}
            rows.append({"seed": seed, "sparsity": s, "budget": b, **told, "points": -2 * abs(k - top)})
        rows.append({"seed": seed, "sparsity": s, "budget": b, "schedule": "ALLR", "points": allr})
    frame = _frame(rows)
    points = [row["points"] if row["schedule"] != "ALLR" else 0.0 for row in rows]
    return frame.assign(validation_accuracy=[(80 + p) / 100 for p in points], validation_loss=0.5)


def dense(**own: float) -> pd.DataFrame:
    """Figure 11; own: points to add to a schedule with less than all epochs."""
    base = {"linear": 0.0, "cosine": -0.1, "multistep": -2.0, "constant": -5.0}
    return _frame(
        [
            {"seed": seed, "epochs": n, "dense_schedule": name, "points": base[name] * (n < 30) + own.get(name, 0)}
            for seed, n, name in product(SEEDS, (3, 8, 30), base)
        ]
    )


def contest(**own: float) -> pd.DataFrame:
    """Figure 5; own: points to add to an entrant."""
    return _frame(
        [
            {"seed": seed, "sparsity": s, "entrant": name, "points": -(name != "BIMP") + own.get(name, 0)}
            for seed, s, name in product(SEEDS, (0.8, 0.9), ("BIMP", *others.RIVALS, "Random"))
        ]
    )


def stability(follows: float = 0.0, gain: float = 5.0) -> pd.DataFrame:
    """Figure 7. follows: how much of an entrant's drop is left at the end; gain: of retraining, in points."""
    names, rows = ["IMP", *others.RIVALS], []
    for seed in SEEDS:
        ends = [4, 7, 1, 8, 0, 5, 3, 6, 2]
        ends[seed % 8], ends[seed % 8 + 1] = ends[seed % 8 + 1], ends[seed % 8]
        for place, name in enumerate(names):
            end = follows * place + (1 - follows) * ends[place]
            rows.append({"seed": seed, "entrant": name, "pruned_validation_accuracy": 0.3 + place / 20, "points": end})
    frame = _frame(rows)
    return frame.assign(validation_accuracy=frame["pruned_validation_accuracy"] + gain / 100 + frame.index % 7 / 1000)


def lengths(longer: float = 1.0) -> pd.DataFrame:
    """Figure 8; longer: what a longer dense run adds."""
    ways = {"one-shot": 0.0, "longer dense, one-shot": longer}
    return _frame(
        [
            {"seed": seed, "panel": 0.9, "what": way, "in_all": total, "points": points * (total > 10)}
            for seed, total, (way, points) in product(SEEDS, (10, 12, 16), ways.items())
        ]
    )


def splits(middle: float = 1.0) -> pd.DataFrame:
    """Figure 6; middle: what the middle has more than the ends."""
    shares = (0.125, 0.25, 0.5, 0.75, 0.875)
    return _frame(
        [
            {"seed": seed, "share": x, "cycles": k, "sparsity": 0.9, "points": middle * (0.25 <= x <= 0.75)}
            for seed, x, k in product(SEEDS, shares, (1, 3))
        ]
    )


def landscape(average: float = 1.0) -> pd.DataFrame:
    """Figure 14; average: what the average of copies has more than they."""
    cells = list(product(SEEDS, ("FT", "LLR")))
    one, two, mean = (
        _frame([{"seed": seed, "schedule": name, "points": points} for seed, name in cells], place)
        for place, points in enumerate((0.0, 0.0, average))
    )
    each = {"": one, "second_": two, "average_": mean}
    more = {f"recalibrated_{which}test_accuracy": frame["test_accuracy"] for which, frame in each.items()}
    return one.assign(**more)


def ingredients(kept: float = 0.8) -> pd.DataFrame:
    """Figure 12; kept: the share of LLR's gain of 40 points that is left with biases and normalisation alone."""
    rows = []
    for seed, s in product(SEEDS, (0.9, 0.98)):
        rows.append({"seed": seed, "sparsity": s, "base": None, "ingredient": None, "points": -40.0})
        for name, points in ((BASE, 0.0), (PERP, -40 * (1 - kept)), ("warm-up 0 %", 1.0)):
            rows.append({"seed": seed, "sparsity": s, "base": "LLR", "ingredient": name, "points": points})
        rows.append({"seed": seed, "sparsity": s, "base": "ALLR", "ingredient": BASE, "points": 5.0})
    return _frame(rows)


def runs(**own: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of all figures; own: other runs, by the names of the functions above."""
    figures = {
        "budgets": schedules.FIG3,
        "best_lr": schedules.FIG4,
        "contest": others.FIG5,
        "splits": others.FIG6,
        "stability": others.FIG7,
        "lengths": others.FIG8,
        "dense": others.FIG11,
        "ingredients": others.FIG12,
        "landscape": others.FIG14,
    }
    return {figure: own[name] if name in own else globals()[name]() for name, figure in figures.items()}


def verdicts() -> list[table.Verdict]:
    """With steps ahead of a line in dense training, and figure 14 missing."""
    some = runs(dense=dense(multistep=3.0))
    del some[others.FIG14]
    return table.verdicts(some, presets.preset("digits"))
