"""What is said of each figure: its alternative text, the results in its caption, and the sentences on its slide.

Pure functions of the figure's table as it is saved (`stats.as_saved`), and the only place where these numbers are worked
out: whoever reads the saved table again gets the same words. Shares become percent, and differences points.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from retrainlab.stats import SEEDS

CONTROLS = ("Random", "Static", "Dense")


@dataclass(frozen=True)
class Words:
    """alt: the alternative text; results: sentences for the caption, or none; points: sentences for a slide."""

    alt: str
    results: str
    points: tuple[str, ...]


def words(name: str, table: pd.DataFrame) -> Words:
    """What the table of that figure says; name: one of FIGURES; table: as it is saved."""
    return FIGURES[name](table)


def percent(share: float) -> str:
    """A share in percent, in words."""
    return f"{100 * share:g} %"


def _accuracies(names: Iterable[str], shares: Iterable[float], between: str = ", ") -> str:
    """`LLR 96.5 %, FT 81.1 %`, the highest first, ties in the order given; what diverged on every seed comes last."""
    ranked = sorted(zip(names, shares), key=lambda pair: -pair[1] if pair[1] == pair[1] else math.inf)
    return between.join(f"{name} {100 * share:.1f} %" if share == share else f"{name} none" for name, share in ranked)


def _middle(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the sparsity in the middle."""
    sparsities = sorted(table["sparsity"].unique())
    return table[table["sparsity"] == sparsities[len(sparsities) // 2]]


# ---- figure 1 --------------------------------------------------------------------------------------------------------


def _schedules(table: pd.DataFrame) -> Words:
    dense = table[table["panel"] == "dense"]
    top, last = dense["lr"].max(), dense["lr"].iloc[-1]
    epochs = dense["epoch"].max() * len(dense) / max(1, len(dense) - 1)
    highest = table[table["panel"] != "dense"].groupby(["panel", "schedule"], sort=False)["lr"].max().unstack()
    factors = (highest["ALLR"] / highest["LLR"]).map("{:.2f}".format)
    d = [f"{factor} at a budget of {percent(float(budget))}" for budget, factor in factors.items()]
    same = f"{factors.iloc[0]} at every budget here"
    return Words(
        f"Learning rate against epoch. First panel: the dense run, from {top:g} to {last:g} over {epochs:.0f} epochs. The "
        f"other panels, one per budget ({', '.join(percent(float(b)) for b in factors.index)}): FT is level at {last:g}; "
        f"LRW is the dense run's end; SLR, CLR and LLR rise to {top:g} in a tenth of the budget and come down in steps, as "
        f"a cosine and as a line to 0; ALLR is a line to 0 from a lower start, with d = {', '.join(d)}.",
        "",
        (
            f"The dense run goes from {top:g} to {last:g}; FT stays at {last:g}.",
            f"SLR, CLR and LLR rise to {top:g} again, however short the budget.",
            f"ALLR starts at d times that: d is {same if factors.nunique() == 1 else ', '.join(d)}.",
        ),
    )


# ---- figure 2 --------------------------------------------------------------------------------------------------------


def levels(table: pd.DataFrame) -> tuple[float, float]:
    """Figure 2's validation accuracies before and straight after the prune."""
    return table["dense"].iloc[0], table.loc[table["step"] == 0, "validation_accuracy"].iloc[0]


def _recovery(table: pd.DataFrame) -> Words:
    dense, pruned = levels(table)
    steps = int(table["step"].max())
    last = table[table["step"] == steps]
    final = _accuracies(last["schedule"], last["validation_accuracy"])
    return Words(
        f"Validation accuracy against retraining step for {len(last)} schedules, above their learning rates. Pruning takes "
        f"the network from {100 * dense:.1f} % to {100 * pruned:.1f} %. After {steps} steps: {final}.",
        "",
        (
            f"Straight after the prune: {100 * pruned:.1f} % of the validation images.",
            f"{steps} steps later: {final}.",
            "One network, one seed: a point or two may be luck. Figure 3 has more seeds.",
        ),
    )


# ---- figures 3 and 5: comparisons with a baseline --------------------------------------------------------------------


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are compared with the baseline, a run under two names once."""
    return table[table["verdict"].notna() & table["same_as"].isna()]


def _corrected(table: pd.DataFrame) -> str:
    return f"Holm's correction for all {_judged(table)['p'].notna().sum()} comparisons"


def _none_told(table: pd.DataFrame) -> bool:
    """Whether no comparison has seeds enough for a verdict."""
    return bool(_judged(table)["p"].isna().all())


FEW = f"with fewer than {SEEDS} seeds nothing can be told"


def _found(table: pd.DataFrame, column: str, verdict: str) -> str:
    """`FT in 13 of 20, LRW in 2 of 4`: the schedules with this verdict, in the table's order, or none."""
    judged = _judged(table)
    cells, found = (part["schedule"].value_counts() for part in (judged, judged[judged[column] == verdict]))
    named = (name for name in table["schedule"].unique() if name in found)
    return ", ".join(f"{name} in {found[name]} of {cells[name]}" for name in named) or "none"


def _same_runs(table: pd.DataFrame) -> str:
    """Which schedules are one run under two names, as a sentence with a space before it; empty if none are."""
    cells = table[table["verdict"].notna()].groupby("schedule").size()
    twins = table.dropna(subset=["same_as"]).groupby(["schedule", "same_as"], sort=False).size()
    said = [f"{name} is the same run as {other} in {n} of {cells[name]} cells" for (name, other), n in twins.items()]
    return f" {' and '.join(said)}, counted once." if said else ""


def _average(row: object) -> str:
    low, high = 100 * row.overall_low, 100 * row.overall_high
    span = f" ({low:+.1f} to {high:+.1f})" if math.isfinite(low) else ""
    return f"{row.schedule} {100 * row.overall_mean:+.1f}{span}, {row.overall}"


def baseline(table: pd.DataFrame) -> str:
    """What figure 3's differences are to."""
    [name] = set(table["schedule"]) - set(table.loc[table["verdict"].notna(), "schedule"])
    return name


def _budgets(table: pd.DataFrame) -> Words:
    name = baseline(table)
    corner = table[(table["sparsity"] == table["sparsity"].max()) & (table["budget"] == table["budget"].min())]
    hardest, shortest = percent(corner["sparsity"].iloc[0]), percent(corner["budget"].iloc[0])
    accuracies = _accuracies(corner["schedule"], corner["mean"])
    worse, better = (_found(table, "verdict", verdict) for verdict in ("worse", "better"))
    still_worse, still_better = (_found(table, "corrected", verdict) for verdict in ("worse", "better"))
    averages = table[table["verdict"].notna()].drop_duplicates("schedule")
    average = "; ".join(_average(row) for row in averages.itertuples())
    counted = f"Worse than {name}, of the cells: {worse}; better: {better} (the interval excludes 0)"
    after = f"after {_corrected(table)}, worse: {still_worse}; better: {still_better}"
    counted = FEW.capitalize() if _none_told(table) else f"{counted}; {after}"
    means = f"On average over all cells, less {name}, in points: {average}"
    return Words(
        f"Test accuracy against retraining budget, one panel per sparsity, one line per schedule; the dense network has "
        f"{100 * table['dense'].iloc[0]:.1f} %. At sparsity {hardest} and budget {shortest}: {accuracies}. "
        f"{counted}.{_same_runs(table)} {means}.",
        f"{counted}.{_same_runs(table)} {means} (corrected for {len(averages)} comparisons).",
        (f"{counted}.", f"{means}.", f"Sparsity {hardest}, budget {shortest}: {accuracies}."),
    )


def _contest(table: pd.DataFrame) -> Words:
    judged = _judged(table[~table["entrant"].isin(CONTROLS)])
    middle = _middle(table)
    ranked = _accuracies(middle["entrant"], middle["mean"])

    def count(column: str) -> str:
        better, worse, undecided = ((judged[column] == v).sum() for v in ("better", "worse", "undecided"))
        return f"better in {better}, worse in {worse}, undecided in {undecided} of {len(judged)}"

    def who(verdict: str) -> str:
        part = judged[judged["verdict"] == verdict].groupby("entrant", sort=False)
        named = []
        for name, own in part:
            cells = zip(own["sparsity"], own["corrected"] == verdict)
            named.append(f"{name} ({', '.join(f'{100 * s:g}' + '*' * bool(sure) for s, sure in cells)})")
        return ", ".join(named) or "none"

    counted = f"{count('verdict')} (by their intervals); after {_corrected(table)}, {count('corrected')}"
    sure = f"*: after {_corrected(table)}, too"
    if _none_told(table):
        counted, sure = f"not told apart: {FEW}", FEW.capitalize()
    missed = table[table["search_reached"] < 1]
    missing = ", ".join(f"{e} at {percent(s)}" for e, s in zip(missed["entrant"], missed["sparsity"])) or "none"
    return Words(
        f"A row for each entrant, a panel for each sparsity, and two panels for speed. At sparsity "
        f"{percent(middle['sparsity'].iloc[0])}, from best to worst: {ranked}; dense {100 * table['dense'].iloc[0]:.1f} %. "
        f"Paired with BIMP, the methods that sparsify during training are {counted}.",
        f"Against BIMP, the other methods are {counted}. Searches that missed their sparsity: {missing}.",
        (
            f"Shown better than BIMP, with the sparsities in %: {who('better')}. Shown worse: {who('worse')}.",
            f"Undecided: {(judged['verdict'] == 'undecided').sum()} of {len(judged)}. {sure}.",
        ),
    )


# ---- figures 4, 6 to 9 -----------------------------------------------------------------------------------------------


def gain(cells: pd.DataFrame) -> pd.Series:
    """Of figure 4, in points: ALLR's test accuracy less that of the best start."""
    return 100 * (cells["allr_accuracy"] - cells["best_accuracy"])


def _best_lr(table: pd.DataFrame) -> Words:
    points = gain(table)
    low, high = table.loc[table["best_lr"].idxmin()], table.loc[table["best_lr"].idxmax()]

    def where(row: pd.Series) -> str:
        return f"sparsity {percent(row['sparsity'])} and budget {percent(row['budget'])}"

    average = f"{points.mean():+.1f}"
    out = ["ALLR's or the best start's runs all diverged."]
    if points.notna().any():
        worst = table.loc[points.idxmin()]
        out = [
            f"ALLR's test accuracy less that of the best start: {average} points on average, within half a point in "
            f"{(points.abs() <= 0.5).sum()} of {len(table)} cells.",
            f"Furthest off at {where(worst)}: {points.min():+.1f} points; "
            f"there {worst['best_lr']:g} is best, ALLR starts at {worst['allr_lr']:.2g}.",
        ]
    return Words(
        f"Two maps over sparsity and budget. Left: the best initial learning rate, from {low['best_lr']:g} at {where(low)} "
        f"to {high['best_lr']:g} at {where(high)}; ALLR starts between {table['allr_lr'].min():.3g} and "
        f"{table['allr_lr'].max():.3g}. Right: ALLR's test accuracy minus that of the best start, from {points.min():+.1f} "
        f"to {points.max():+.1f} percentage points, {average} on average.",
        "",
        tuple(out),
    )


def _split(table: pd.DataFrame) -> Words:
    def choice(row: pd.Series) -> str:
        cycles = f"{row['cycles']:.0f} cycle{'s' if row['cycles'] > 1 else ''}"
        return f"{percent(row['share'])} dense, {cycles}: {100 * row['mean']:.1f} %"

    ends = {
        sparsity: (choice(part.loc[part["mean"].idxmax()]), choice(part.loc[part["mean"].idxmin()]))
        for sparsity, part in table.dropna(subset=["mean"]).groupby("sparsity")
    }
    said = "; ".join(f"sparsity {percent(sparsity)}: {best}" for sparsity, (best, _) in ends.items())
    return Words(
        f"Lines of test accuracy over the dense share of the epochs, one for each number of cycles. Highest mean: {said}.",
        "",
        tuple(
            f"Sparsity {percent(s)}: highest mean at {best}; lowest at {worst}." for s, (best, worst) in ends.items()
        ),
    )


def ranks(points: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation over figure 7's entrants of accuracy after retraining with accuracy straight after the
    prune and with stability: columns what (raw or recalibrated), of, entrants (all or without IMP), correlation, p."""
    from scipy.stats import spearmanr  # takes half a second to load

    rows = []
    for what, part in points.dropna(subset=["after"]).groupby("what", sort=False):
        for who, some in (("all", part), ("without IMP", part[part["entrant"] != "IMP"])):
            for measure, column in (("accuracy", "before"), ("stability", "stability")):
                told = len(some) > 1 and some[column].nunique() > 1 and some["after"].nunique() > 1
                rho, p = spearmanr(some[column], some["after"]) if told else (math.nan, math.nan)
                rows.append({"what": what, "of": measure, "entrants": who, "correlation": rho, "p": p})
    return pd.DataFrame(rows)


def _signed(correlation: float) -> str:
    return f"{correlation:+.2f}" if math.isfinite(correlation) else "undefined"


def _stability(table: pd.DataFrame) -> Words:
    rank = {(r.what, r.of, r.entrants): _signed(r.correlation) for r in ranks(table).itertuples()}
    said = "; ".join(
        f"{what}: {rank[what, 'accuracy', 'all']} ({rank[what, 'accuracy', 'without IMP']} without IMP), "
        f"of stability {rank[what, 'stability', 'all']} ({rank[what, 'stability', 'without IMP']})"
        for what in ("raw", "recalibrated")
    )
    raw = table[table["what"] == "raw"]
    imp, place = raw[raw["entrant"] == "IMP"], raw["after"].rank(ascending=False, method="min")
    helped, sure = (
        ", ".join(raw.loc[raw[c] == "better", "entrant"]) or "none" for c in ("gain_verdict", "gain_corrected")
    )
    gains = f"Retraining gains validation accuracy for {helped} (interval above 0); after Holm's correction for {sure}"
    return Words(
        f"Two scatter plots, a point for each method. Straight after the prune accuracies lie between "
        f"{100 * raw['before'].min():.1f} and {100 * raw['before'].max():.1f} %, after retraining between "
        f"{100 * raw['after'].min():.1f} and {100 * raw['after'].max():.1f} %. Rank correlation over methods, {said}.",
        f"Rank correlation over methods, {said}. {gains}.",
        (
            f"Rank correlation with accuracy after retraining: accuracy before it {rank['raw', 'accuracy', 'all']} "
            f"({rank['raw', 'accuracy', 'without IMP']} without IMP), stability {rank['raw', 'stability', 'all']}.",
            f"IMP goes from {100 * imp['before'].iloc[0]:.1f} % to {100 * imp['after'].iloc[0]:.1f} %, place "
            f"{place[imp.index[0]]:.0f} of {len(raw)}.",
        ),
    )


def titles(points: pd.DataFrame) -> list[str]:
    """Of figure 7's panels: raw, then recalibrated."""
    all_ = ranks(points).query("of == 'accuracy' and entrants == 'all'")
    return [
        f"{what.capitalize()}: rank correlation {_signed(rho)}" for what, rho in zip(all_["what"], all_["correlation"])
    ]


def _lengths(table: pd.DataFrame) -> Words:
    longest = table[table["epochs"] == table["epochs"].max()]
    said = "; ".join(
        f"at sparsity {percent(s)}: {_accuracies(part['what'], part['mean'], '; ')}"
        for s, part in longest.groupby("sparsity")
    )
    pruned = table[table["what"] != "dense, not pruned"]
    return Words(
        f"Lines of test accuracy over the epochs in all, one for each way to spend them. At the longest, {said}.",
        "",
        tuple(
            f"{epochs:g} epochs in all, sparsity {percent(s)}: {_accuracies(part['what'], part['mean'], '; ')}."
            for (epochs, s), part in pruned.groupby(["epochs", "sparsity"])
            if epochs in (pruned["epochs"].min(), pruned["epochs"].max())
        ),
    )


def _where(table: pd.DataFrame) -> Words:
    part = _middle(table)
    layer = part["layer"].iloc[0]
    at, ranked = percent(part["sparsity"].iloc[0]), _accuracies(part["allocation"], part["mean"])
    gone = ", ".join(f"{100 * share:.1f} % ({way})" for way, share in zip(part["allocation"], part[layer]))
    fast = ", ".join(f"{way} {times:.1f}" for way, times in zip(part["allocation"], part["theoretical_speedup"]))
    return Words(
        f"Left: lines of test accuracy over sparsity; at {at}: {ranked}. Right: bars of the sparsity of each layer. Below: "
        f"the masks of {layer} as images; of it go {gone}.",
        "",
        (f"Sparsity {at}: {ranked}.", f"Speed-up in theory, times: {fast}."),
    )


FIGURES: dict[str, Callable[[pd.DataFrame], Words]] = {
    "fig01_schedules": _schedules,
    "fig02_recovery": _recovery,
    "fig03_budgets": _budgets,
    "fig04_best_lr": _best_lr,
    "fig05_contest": _contest,
    "fig06_split": _split,
    "fig07_stability": _stability,
    "fig08_lengths": _lengths,
    "fig09_where": _where,
}
