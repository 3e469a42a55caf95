"""What the tables of figures 5 to 9 say."""

import math

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, accuracies, after_holm, judged, too_few
from retrainlab.phrases import percent, share

CONTROLS = ("Random", "Static", "Dense")
WHATS = ("raw", "recalibrated")  # accuracies straight after the prune, of figure 7


def middle(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the sparsity in the middle."""
    sparsities = sorted(table["sparsity"].unique())
    return table[table["sparsity"] == sparsities[len(sparsities) // 2]]


def contest(table: pd.DataFrame) -> Said:
    """What figure 5 says of the methods beside BIMP."""
    others, cells = judged(table[~table["entrant"].isin(CONTROLS)]), middle(table)
    ranked = accuracies(cells["entrant"], cells["mean"])

    def count(column: str) -> str:
        better, worse, undecided = ((others[column] == v).sum() for v in ("better", "worse", "undecided"))
        return f"better in {better}, worse in {worse}, undecided in {undecided} of {len(others)}"

    def who(verdict: str) -> str:
        named = []
        for name, own in others[others["verdict"] == verdict].groupby("entrant", sort=False):
            shown = zip(own["sparsity"], own["corrected"] == verdict)
            named.append(f"{name} ({', '.join(f'{100 * s:g}' + '*' * bool(sure) for s, sure in shown)})")
        return ", ".join(named) or "none"

    counted = f"{count('verdict')} (by their intervals); {after_holm(table)}, {count('corrected')}"
    named = f"Shown better than BIMP, with the sparsities in %: {who('better')}. Shown worse: {who('worse')}."
    named += f" *: {after_holm(table)}, too."
    if too_few(table):
        counted, named = f"not told apart: {FEW}", ""
    against = f"Against BIMP, the other methods are {counted}."
    missed = table[table["search_reached"] < 1]
    missing = ", ".join(f"{e} at {share(s)}" for e, s in zip(missed["entrant"], missed["sparsity"])) or "none"
    return (
        f"A row for each entrant, a panel for each sparsity, and two panels for speed. At sparsity "
        f"{share(cells['sparsity'].iloc[0])}, from best to worst: {ranked}; dense {percent(table['dense'].iloc[0])}. "
        f"Paired with BIMP, the methods that sparsify during training are {counted}.",
        " ".join(filter(None, [against, named, f"Searches that missed their sparsity: {missing}."])),
        (against, *filter(None, [named])),
    )


def split(row: pd.Series) -> str:
    """`50 % dense, 3 cycles`."""
    return f"{share(row['share'])} dense, {row['cycles']:.0f} cycle{'s' if row['cycles'] > 1 else ''}"


def splits(table: pd.DataFrame) -> Said:
    """What figure 6 says: the best and the worst split of the epochs at each sparsity."""

    def choice(row: pd.Series) -> str:
        return f"{split(row)}: {percent(row['mean'])}"

    ends = {
        share(sparsity): (choice(part.loc[part["mean"].idxmax()]), choice(part.loc[part["mean"].idxmin()]))
        for sparsity, part in table.dropna(subset=["mean"]).groupby("sparsity")
    }
    said = "; ".join(f"sparsity {sparsity}: {best}" for sparsity, (best, _) in ends.items())
    return (
        f"Lines of test accuracy over the dense share of the epochs, one for each number of cycles. Highest mean: {said}.",
        "",
        tuple(f"Sparsity {s}: highest mean at {best}; lowest at {worst}." for s, (best, worst) in ends.items()),
    )


def ranks(points: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlations over figure 7's entrants: of test accuracy after retraining with accuracy straight
    after the prune, and with stability.

    Columns: what (one of WHATS), of (accuracy or stability), entrants (all or without IMP), correlation and p.
    """
    from scipy.stats import spearmanr  # takes half a second to load

    rows = []
    for what, part in points.dropna(subset=["after"]).groupby("what", sort=False):
        for who, some in (("all", part), ("without IMP", part[part["entrant"] != "IMP"])):
            for measure, column in (("accuracy", "before"), ("stability", "stability")):
                told = len(some) > 1 and some[column].nunique() > 1 and some["after"].nunique() > 1
                rho, p = spearmanr(some[column], some["after"]) if told else (math.nan, math.nan)
                rows.append({"what": what, "of": measure, "entrants": who, "correlation": rho, "p": p})
    return pd.DataFrame(rows)


def _ranked(points: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The correlations of `ranks` in words, by what, of and entrants."""
    return {
        (row.what, row.of, row.entrants): f"{row.correlation:+.2f}" if math.isfinite(row.correlation) else "undefined"
        for row in ranks(points).itertuples()
    }


def titles(points: pd.DataFrame) -> list[str]:
    """The titles of figure 7's panels: raw, then recalibrated."""
    rank = _ranked(points)
    return [f"{what.capitalize()}: rank correlation {rank[what, 'accuracy', 'all']}" for what in WHATS]


def stability(table: pd.DataFrame) -> Said:
    """What figure 7 says: whether accuracy straight after the prune, or stability, goes with accuracy in the end."""
    rank = _ranked(table)
    said = "; ".join(
        f"{what}: {rank[what, 'accuracy', 'all']} ({rank[what, 'accuracy', 'without IMP']} without IMP), "
        f"of stability {rank[what, 'stability', 'all']} ({rank[what, 'stability', 'without IMP']})"
        for what in WHATS
    )
    raw = table[table["what"] == "raw"]
    imp, place = raw[raw["entrant"] == "IMP"], raw["after"].rank(ascending=False, method="min")
    columns = ("gain_verdict", "gain_corrected")
    helped, sure = (", ".join(raw.loc[raw[column] == "better", "entrant"]) or "none" for column in columns)
    gains = f"Retraining gains validation accuracy for {helped} (interval above 0); after Holm's correction for {sure}"
    return (
        f"Two scatter plots, a point for each method. Straight after the prune accuracies lie between "
        f"{100 * raw['before'].min():.1f} and {percent(raw['before'].max())}, after retraining between "
        f"{100 * raw['after'].min():.1f} and {percent(raw['after'].max())}. Rank correlation over methods, {said}.",
        f"Rank correlation over methods, {said}. {gains}.",
        (
            f"Rank correlation with accuracy after retraining: accuracy before it {rank['raw', 'accuracy', 'all']} "
            f"({rank['raw', 'accuracy', 'without IMP']} without IMP), stability {rank['raw', 'stability', 'all']}.",
            f"IMP goes from {percent(imp['before'].iloc[0])} to {percent(imp['after'].iloc[0])}, place "
            f"{place[imp.index[0]]:.0f} of {len(raw)}.",
        ),
    )


def lengths(table: pd.DataFrame) -> Said:
    """What figure 8 says of the shortest and the longest totals of epochs."""

    def ranked(cell: pd.DataFrame) -> str:
        return accuracies(cell["what"], cell["mean"], "; ")

    longest = table[table["epochs"] == table["epochs"].max()].groupby("sparsity")
    said = "; ".join(f"at sparsity {share(s)}: {ranked(cell)}" for s, cell in longest)
    pruned = table[table["what"] != "dense, not pruned"]
    ends = pruned[pruned["epochs"].isin((pruned["epochs"].min(), pruned["epochs"].max()))]
    return (
        f"Lines of test accuracy over the epochs in all, one for each way to spend them. At the longest, {said}.",
        "",
        tuple(
            f"{epochs:g} epochs in all, sparsity {share(s)}: {ranked(cell)}."
            for (epochs, s), cell in ends.groupby(["epochs", "sparsity"])
        )
        + _one_and_the_same(pruned),
    )


def _one_and_the_same(pruned: pd.DataFrame) -> tuple[str, ...]:
    """That in figure 8's shortest total the two ways to prune once are the same runs: no epoch is left by which the dense
    run could be longer."""
    shortest = pruned[pruned["epochs"] == pruned["epochs"].min()].set_index(["sparsity", "what"])[
        ["mean", "low", "high"]
    ]
    once, longer = (
        shortest.query("what == @what").droplevel("what") for what in ("one-shot", "longer dense, one-shot")
    )
    if once.empty or not once.equals(longer):
        return ()
    epochs = pruned["epochs"].min()
    return (f"With {epochs:g} epochs one-shot and longer dense, one-shot are the same runs, by construction.",)


def allocations(table: pd.DataFrame) -> Said:
    """What figure 9 says of the sparsity in the middle."""
    part = middle(table)
    layer = part["layer"].iloc[0]
    at, ranked = share(part["sparsity"].iloc[0]), accuracies(part["allocation"], part["mean"])
    gone = ", ".join(f"{percent(removed)} ({way})" for way, removed in zip(part["allocation"], part[layer]))
    fast = ", ".join(f"{way} {times:.1f}" for way, times in zip(part["allocation"], part["theoretical_speedup"]))
    return (
        f"Left: lines of test accuracy over sparsity; at {at}: {ranked}. Right: bars of the sparsity of each layer. Below: "
        f"the masks of {layer} as images; of it go {gone}.",
        "",
        (f"Sparsity {at}: {ranked}.", f"Speed-up in theory, times: {fast}."),
    )
