"""Figures of a made-up study, with tables, words and pictures of the usual sizes: what tests show in place of the project's
own, which a user's command rewrites."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from retrainlab import schedules, stats
from retrainlab.claims import report
from retrainlab.config import Recipe, Retrain
from retrainlab.figures import (
    claims,
    contest,
    dense,
    ingredients,
    landscape,
    presets,
    retraining,
    saving,
    scores,
    sentences,
    storage,
    style,
)
from retrainlab.study.changes import changes
from tests.helpers import claimed

SPARSITIES, BUDGETS, SEEDS = (0.8, 0.9, 0.95, 0.98), (0.025, 0.05, 0.1, 0.25, 0.5), 5
METHODS = ("BIMP", "GMP", "GSM", "DPF", "DNW", "CS", "STR", "DST", "LC", "RigL", "Static", "Random")
WAYS = ("global", "uniform", "erk", "lamp", "random")
SCORES = ("magnitude", "obd", "obs", "random")
LAYERS = ("conv.weight", "blocks.0.conv1.weight", "blocks.1.conv1.weight", "classifier.weight")


def study(seeds: int = SEEDS, **levels) -> pd.DataFrame:
    """A row for every seed and combination of levels: accuracies of 270 test images, losses with all their digits."""
    index = pd.MultiIndex.from_product([*levels.values(), range(seeds)], names=[*levels, "seed"])
    frame = pd.DataFrame(index=index).reset_index()
    generator = np.random.default_rng(len(frame))
    last = [*levels][-1]
    place = frame[last].map(levels[last].index)
    accuracy = 0.95 - 0.03 * frame.get("sparsity", 0.9) - 0.006 * place + generator.normal(0, 0.01, len(frame))
    frame["test_accuracy"] = (270 * accuracy).round() / 270
    for name in ("validation_accuracy", "test_loss", "validation_loss"):
        frame[name] = frame["test_accuracy"] - generator.uniform(0, 0.05, len(frame))
    return frame


def budgets_frame() -> pd.DataFrame:
    """Figure 3's: LRW is FT but at the longest budget."""
    frame = study(sparsity=SPARSITIES, budget=BUDGETS, schedule=tuple(style.SCHEDULES))
    measured = ["test_accuracy", "validation_accuracy", "test_loss", "validation_loss"]
    twin, ft = (
        (frame["schedule"] == "LRW") & (frame["budget"] < 0.5),
        (frame["schedule"] == "FT") & (frame["budget"] < 0.5),
    )
    frame.loc[frame["schedule"] == "FT", "test_accuracy"] -= 0.1
    frame.loc[twin, measured] = frame.loc[ft, measured].to_numpy()
    return frame


def _schedules() -> pd.DataFrame:
    original = schedules.dense(Recipe(lr=0.1), 60)
    rows = [("dense", "dense", i / 2, lr) for i, lr in enumerate(original.lr.tolist())]
    for budget in (0.1, 0.25, 0.5):
        for name in style.SCHEDULES:
            curve = schedules.retraining(Retrain(name), original, round(60 * budget), d=0.761)
            rows += [(budget, name, i / 2, lr) for i, lr in enumerate(curve.tolist())]
    return pd.DataFrame(rows, columns=["panel", "schedule", "epoch", "lr"])


def _recovery() -> pd.DataFrame:
    rows = [
        (name, step, 0.1 - step / 1000, 0.1 if step == 0 else 1 - 0.9 / (step + 1) - place / 100, 0.98)
        for place, name in enumerate(style.SCHEDULES)
        for step in range(0, 94, 3)
    ]
    return pd.DataFrame(rows, columns=["schedule", "step", "lr", "validation_accuracy", "dense"])


def _budgets() -> pd.DataFrame:
    frame = budgets_frame()
    table = stats.compared(frame, ["sparsity", "budget"], "test_accuracy", "schedule", "LLR")
    return table.merge(stats.overall(frame, "test_accuracy", "schedule", "LLR"), how="left").assign(dense=0.983)


def _best_lr() -> pd.DataFrame:
    cells = [(s, b, 0.1 * (1 + i), 0.07, 0.95, 0.95 - 0.02 * i) for s in SPARSITIES for i, b in enumerate(BUDGETS[:4])]
    return pd.DataFrame(cells, columns=["sparsity", "budget", "best_lr", "allr_lr", "best_accuracy", "allr_accuracy"])


def _contest() -> pd.DataFrame:
    frame = study(sparsity=(0.8, 0.9, 0.95), entrant=METHODS)
    table = stats.compared(frame, ["sparsity"], "test_accuracy", "entrant", "BIMP")
    return table.assign(theoretical_speedup=5.0, images_per_second=7000.0, search_reached=1.0, dense=0.97)


def _splits() -> pd.DataFrame:
    return stats.summary(
        study(sparsity=(0.9, 0.95), share=(0.125, 0.5, 0.875), cycles=(1, 3)),
        ["sparsity", "share", "cycles"],
        "test_accuracy",
    )


def _stability() -> pd.DataFrame:
    after = stats.summary(study(entrant=("GMP", "GSM", "DPF", "DNW", "IMP")), ["entrant"], "test_accuracy")
    before = np.array([0.94, 0.75, 0.92, 0.89, 0.11])
    raw = after.rename(columns={"mean": "after"}).assign(before=before, stability=before / 0.95)
    raw = raw.assign(gain_verdict="better", gain_corrected=["better", *4 * ["undecided"]])
    return pd.concat([raw.assign(what="raw"), raw.assign(what="recalibrated", before=1 - before)])


def _lengths() -> pd.DataFrame:
    what = ("one-shot", "iterative, 3 cycles", "longer dense, one-shot", "dense, not pruned")
    return stats.summary(
        study(sparsity=(0.9, 0.95), epochs=(10, 12, 16), what=what), ["sparsity", "what", "epochs"], "test_accuracy"
    )


def _layers() -> pd.DataFrame:
    rows = [(way, layer, (i + j + 1) / 10) for i, way in enumerate(WAYS) for j, layer in enumerate(LAYERS)]
    return pd.DataFrame(rows, columns=["allocation", "layer", "sparsity"])


def _where() -> pd.DataFrame:
    accuracy = stats.summary(
        study(seeds=3, sparsity=(0.9, 0.95, 0.98), allocation=WAYS), ["allocation", "sparsity"], "test_accuracy"
    )
    layers = (
        _layers().pivot(index="allocation", columns="layer", values="sparsity").assign(sparsity=0.95, layer=LAYERS[1])
    )
    return accuracy.assign(theoretical_speedup=7.0).merge(layers.reset_index(), how="left")


def scores_frame(seeds: int = SEEDS) -> pd.DataFrame:
    """Figure 10's: straight after the prune obs leads, and retraining, which all need, makes all alike."""
    frame = study(seeds, sparsity=SPARSITIES, schedule=("FT", "LLR"), budget=(0.0, 0.05, 0.1, 0.25), score=SCORES)
    frame = frame[(frame["budget"] > 0) | (frame["schedule"] == "LLR")].reset_index(drop=True)
    generator, lead = np.random.default_rng(1), frame["score"].map({"obs": -0.3}).fillna(-0.5)
    frame["test_accuracy"] = 0.95 + generator.normal(0, 0.01, len(frame)) + lead * (frame["budget"] == 0)
    return frame.assign(dense_test_accuracy=0.983)


def _scores() -> pd.DataFrame:
    return scores.compared(scores_frame(), "magnitude")


def dense_frame(seeds: int = SEEDS) -> pd.DataFrame:
    """Figure 11's: the shorter the run, the farther the constant learning rate is behind."""
    frame = study(seeds, epochs=(1, 3, 30), schedule=("linear", "cosine", "multistep", "constant"))
    behind = (frame["schedule"] == "constant") * 0.3 / frame["epochs"]
    return frame.assign(budget=(frame["epochs"] / 30).round(3), test_accuracy=frame["test_accuracy"] - behind)


def _dense() -> pd.DataFrame:
    return dense.compared(dense_frame(), "linear")


def ingredients_frame(seeds: int = SEEDS, sparsities: tuple[float, ...] = (0.95, 0.98)) -> pd.DataFrame:
    """Figure 12's: all that matters is that only biases and normalisation learn, which costs 5 points, the more the more is
    pruned."""
    names = [("", ""), *((c.base, c.ingredient) for c in changes(Recipe().sgd))]
    frame = study(seeds, sparsity=sparsities, place=tuple(range(len(names))))
    frame["base"], frame["ingredient"] = zip(*(names[place] for place in frame["place"]))
    generator, pruned = np.random.default_rng(2), frame["base"] == ""
    frozen = 0.05 * (frame["ingredient"] == "only biases and normalisation") * (1 + 10 * (frame["sparsity"] - 0.95))
    frame["test_accuracy"] = 0.9 - 0.75 * pruned - frozen + generator.normal(0, 0.004, len(frame))
    return frame.drop(columns="place").assign(budget=0.05 * ~pruned)


def _ingredients() -> pd.DataFrame:
    return ingredients.compared(ingredients_frame())


def storage_frames(seeds: int = SEEDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figure 13's rows and their sizes: only networks without filters have a smaller one, which was measured."""
    frame = study(seeds, structure=("unstructured", "n:m", "filters"), sparsity=(0.5, 0.75))
    generator, filters = np.random.default_rng(2), frame["structure"] == "filters"
    achieved, fewer = frame["sparsity"] + 0.2 * filters, 1 / (1 - frame["sparsity"])
    frame = frame.assign(n=2, m=(2 * fewer).astype(int), sparsity_achieved=achieved, theoretical_speedup=fewer)
    frame["shrunken_speedup"] = fewer.where(filters)
    frame["measured_speedup"] = frame["shrunken_speedup"] * generator.uniform(0.5, 0.6, len(frame))
    rows = [
        (place, precision, encoding, packed, size)
        for place, share in enumerate(1 - achieved)
        for precision in ("float32", "bfloat16")
        for encoding, size in (("dense", 1000), ("bitmask", 1000 * share + 32), ("csr", 1250 * share + 5))
        for packed, size in ((False, size), (True, 900 * share + size / 100))
    ]
    sizes = pd.DataFrame(rows, columns=["place", "precision", "encoding", "gzipped", "bytes"])
    return frame.assign(dense_test_accuracy=0.94), sizes


def _storage() -> pd.DataFrame:
    return storage.compared(*storage_frames())


def landscape_frames(seeds: int = SEEDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figure 14's rows and lines: FT stays near; the average helps LLR, and is one of two that recalibrating helps."""
    frame = study(seeds, sparsity=(0.9, 0.98), schedule=("FT", "LLR"))
    ft, generator = frame["schedule"] == "FT", np.random.default_rng(3)

    def above(points: float) -> pd.Series:
        return frame["test_accuracy"] + points + generator.normal(0, 0.002, len(frame))

    gains = {"second_": 0, "recalibrated_": 0.01, "recalibrated_second_": 0.01, "average_": 0}
    frame = frame.assign(**{f"{name}test_accuracy": above(points) for name, points in gains.items()})
    frame["recalibrated_average_test_accuracy"] = above(0.01) + 0.02 * ~ft
    far = np.where(ft, 0.01, 0.35) * frame["sparsity"]
    frame = frame.assign(distance_from_dense=0.8 + far / 10, distance_from_pruned=far, distance_between_copies=far / 2)
    frame = frame.assign(sign_flips=far / 20, barrier=far / 10, recalibrated_barrier=far / 20, norm_drop=0.8)
    lines = (
        frame[["seed", "sparsity", "schedule"]]
        .assign(budget=0.1)
        .merge(pd.DataFrame({"place": np.arange(9) / 4}), how="cross")
    )
    rest = (2 - lines["place"]).clip(lower=1) - 1 + 0.1 * (lines["schedule"] == "FT")
    lines = lines.assign(accuracy=0.9 - 0.5 * rest, loss=0.1 + 6 * rest)
    lines = lines.assign(recalibrated_accuracy=0.9 - 0.2 * rest, recalibrated_loss=0.1 + 2 * rest)
    return frame.assign(dense_test_accuracy=0.98), lines


def _landscape() -> pd.DataFrame:
    return landscape.compared(*landscape_frames())


def _draw_where(table: pd.DataFrame):
    masks = {way: torch.arange(72).view(4, 2, 3, 3) % (i + 2) == 0 for i, way in enumerate(WAYS)}
    return contest.allocations(table, _layers(), masks, LAYERS[1])


def budget_figure(frame: pd.DataFrame):
    """Figure 3 of a frame whose accuracies are in `acc`."""
    table = stats.compared(frame, ["sparsity", "budget"], "test_accuracy", "schedule", "LLR")
    return retraining.budgets(table.assign(dense=0.97))


TABLES = {
    "fig01_schedules": _schedules,
    "fig02_recovery": _recovery,
    "fig03_budgets": _budgets,
    "fig04_best_lr": _best_lr,
    "fig05_contest": _contest,
    "fig06_split": _splits,
    "fig07_stability": _stability,
    "fig08_lengths": _lengths,
    "fig09_where": _where,
    "fig10_scores": _scores,
    "fig11_dense": _dense,
    "fig12_ingredients": _ingredients,
    "fig13_storage": _storage,
    "fig14_landscape": _landscape,
    "fig15_claims": lambda: report.frame(claimed.verdicts()),
}
DRAW = {
    "fig01_schedules": retraining.schedules,
    "fig02_recovery": lambda table: retraining.recovery(table, "resnet8 on digits, 95 % of the weights removed"),
    "fig03_budgets": retraining.budgets,
    "fig04_best_lr": retraining.best_lr,
    "fig05_contest": contest.contest,
    "fig06_split": lambda table: contest.splits(table, 8),
    "fig07_stability": contest.stability,
    "fig08_lengths": contest.lengths,
    "fig09_where": _draw_where,
    "fig10_scores": scores.scores,
    "fig11_dense": dense.dense,
    "fig12_ingredients": ingredients.ingredients,
    "fig13_storage": storage.storage,
    "fig14_landscape": landscape.landscape,
    "fig15_claims": claims.claims,
}


@cache
def table(name: str) -> pd.DataFrame:
    """The figure's table as it is saved."""
    return stats.as_saved(TABLES[name]())


def fill(folder: Path) -> None:
    """Save every figure to the folder."""
    results = pd.DataFrame(
        {"seed": [0], "test_accuracy": [0.9], "device": ["cpu, 2 cores"], "key": ["0123456789abcdef"]}
    )
    for name, draw in DRAW.items():
        said, saved = sentences.words(name, table(name)), table(name)
        caption = f"A caption of {name}. {said.results}"
        saving.save(draw(saved), saved, said, caption, settings=presets.asked("digits", folder), results=results)
