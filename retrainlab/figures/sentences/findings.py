"""What figures 1 to 9 say in the few words that a row of a table has room for; the later ones say theirs beside the rest.

Where a table holds verdicts they are counted or named, with whether they are corrected; where it holds means alone, that
is said. Schedules go by their names, methods are counted: a row has no room to spell them out.
"""

import pandas as pd

from retrainlab.figures.sentences import contest as methods
from retrainlab.figures.sentences import retraining
from retrainlab.figures.sentences.phrases import FEW, judged, standing, too_few
from retrainlab.phrases import listed, percent, share
from retrainlab.stats import SEEDS

WAYS = {
    "global": "ranked together",
    "uniform": "equal shares",
    "erk": "Erdos-Renyi-kernel (ERK)",
    "lamp": "layer-adaptive (LAMP)",
}
LOST = "all runs diverged"


def schedules(table: pd.DataFrame) -> str:
    """Where the schedules of figure 1 start."""
    top, last, factors = retraining.starts(table)
    ends = dict.fromkeys((f"{factors.min():.2f}", f"{factors.max():.2f}"))
    return f"FT stays at {last:g}; LLR goes back to {top:g}, ALLR to {' to '.join(ends)} of that"


def recovery(table: pd.DataFrame) -> str:
    """Where the curves of figure 2 start and end."""
    last = table[table["step"] == table["step"].max()]
    ends = last.groupby("validation_accuracy", sort=True)["schedule"].agg(list)
    found = [f"{percent(accuracy)} ({', '.join(names)})" for accuracy, names in ends.iloc[[0, -1]].items()]
    there = " to ".join(dict.fromkeys(found))
    pruned, steps = percent(retraining.levels(table)[1]), last["step"].iloc[0]
    return f"{pruned} after the prune, {there} {steps:.0f} steps later (one seed)"


def budgets(table: pd.DataFrame) -> str:
    """The verdicts of figure 3 on average over its cells."""
    return standing(retraining.baseline(table), table)


def best_lr(table: pd.DataFrame) -> str:
    """How near ALLR comes to the best start of figure 4."""
    points = retraining.gain(table)
    if points.isna().all():
        return LOST
    return (
        f"ALLR is within half a point of the best start in {(points.abs() <= 0.5).sum()} of {len(table)} cells, "
        f"{points.min():+.1f} at worst (not tested)"
    )


def contest(table: pd.DataFrame) -> str:
    """How often BIMP is shown better and worse than the methods of figure 5."""
    if too_few(table):
        return FEW
    others = judged(table[~table["entrant"].isin(methods.CONTROLS)])
    worse, better, undecided = ((others["corrected"] == v).sum() for v in ("better", "worse", "undecided"))
    return f"BIMP is better in {better} of {len(others)} comparisons, worse in {worse}, undecided in {undecided} (corrected)"


def splits(table: pd.DataFrame) -> str:
    """The best split of figure 6 at each sparsity."""
    told = table.dropna(subset="mean")
    if told.empty:
        return LOST
    names = pd.Series([methods.split(row) for _, row in told.iterrows()], index=told.index)
    return f"highest mean (not tested): {_highest(told.assign(name=names))}"


def stability(table: pd.DataFrame) -> str:
    """Whether the accuracy straight after the prune of figure 7 tells the end, and how many methods retraining helps."""
    rho, p = (
        methods.ranks(table).set_index(["what", "of", "entrants"]).loc[("raw", "accuracy", "all"), ["correlation", "p"]]
    )
    raw = table[table["what"] == "raw"]
    told = f"{rho:+.2f} (p {p:.2f})" if rho == rho else "undefined"
    helped = f"retraining helps {(raw['gain_corrected'] == 'better').sum()} of {len(raw)} (corrected)"
    return f"rank correlation with the end: {told}; {FEW if raw['n'].max() < SEEDS else helped}"


def lengths(table: pd.DataFrame) -> str:
    """The best way of figure 8 to prune in the shortest and in the longest time."""
    pruned = table[table["what"] != "dense, not pruned"].dropna(subset="mean").rename(columns={"what": "name"})
    if pruned.empty:
        return LOST
    ends = pruned[pruned["epochs"].isin((pruned["epochs"].min(), pruned["epochs"].max()))].groupby("epochs")
    said = [f"with {epochs:g} epochs {_highest(rows)}" for epochs, rows in ends]
    return f"highest mean (not tested): {'; '.join(said)}"


def allocations(table: pd.DataFrame) -> str:
    """The best and the worst way of figure 9, and which layer loses most and least where all are ranked together."""
    part = methods.middle(table)
    means = part["mean"].groupby(part["allocation"].map(lambda way: WAYS.get(way, way)), sort=False).first().dropna()
    if means.empty:
        return LOST
    ends = [(listed(means.index[means == end]), percent(end)) for end in (means.max(), means.min())]
    (best, top), (worst, last) = ends
    at = share(part["sparsity"].iloc[0])
    said = f"highest mean at {at} (not tested): {best} ({top}), lowest: {worst} ({last})"
    layers = part[part["allocation"] == "global"].filter(regex="weight$").iloc[:1].dropna(axis=1)
    if layers.empty:
        return said
    shares = layers.iloc[0]
    return f"{said}; ranked together, most goes from {shares.idxmax()}, least from {shares.idxmin()}"


def _highest(rows: pd.DataFrame) -> str:
    """`one-shot at sparsity 90 %, iterative at 95 %`: the name of the highest mean at each sparsity, of all that share it;
    where it is the same at each, that alone."""
    where: dict[str, list[str]] = {}
    for sparsity, cell in rows.groupby("sparsity"):
        best = " and ".join(cell.loc[cell["mean"] == cell["mean"].max(), "name"])
        where.setdefault(best, []).append(share(sparsity))
    if len(where) == 1:
        return next(iter(where))
    return ", ".join(f"{best} at sparsity {listed(places)}" for best, places in where.items())
