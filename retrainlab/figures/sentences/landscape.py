"""What the table of figure 14 says: how far retraining goes, what lies on the way, and whether averaging copies helps."""

from collections.abc import Callable

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, overall
from retrainlab.phrases import listed, percent, share

GAINS = {  # how the average is compared with the copies: the starts of their measures' names, the copies' first
    "soup": ("", "recalibrated_"),
    "recalibrated": ("recalibrated_", "recalibrated_"),
    "raw": ("", ""),
}
WORDS = {
    "soup": "the average recalibrated, the copies as they are",
    "recalibrated": "both recalibrated",
    "raw": "both as they are",
}


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of what averaging adds."""
    return table[table["gain"].notna()]


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each sparsity and schedule."""
    return gains(table).drop_duplicates(["sparsity", "schedule"])


def went(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `cells` in which some seed has not diverged."""
    return cells(table).dropna(subset="distance_from_pruned")


def norm_drop(rows: pd.DataFrame) -> float:
    """How far the prune alone went, which all schedules of a sparsity share; rows: of `went`."""
    return float(rows["norm_drop"].iloc[0])


def along(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the lines."""
    return table[table["place"].notna()]


def landscape(table: pd.DataFrame) -> Said:
    """What figure 14 says."""
    if went(table).empty:
        return "Nothing is shown: all runs diverged.", "All runs diverged.", ("All runs diverged.",)
    results = [_went(table), _way(table), _between(table), answer(table), *_counts(table)]
    added = f"Averaging two copies adds {_added(table)}." if _told(table) else f"{FEW.capitalize()}."
    return (
        "A row of panels for each sparsity, a colour for each schedule: bars of the distance from the pruned "
        "weights with the share of signs that turned, and marks of that from the dense weights; the validation loss "
        "on the line from the pruned network to the first copy; that on the line from there to the second, less the "
        f"straight line between its ends; what averaging both copies adds to test accuracy. {' '.join(results)}",
        " ".join(results),
        (f"Retraining goes {_far(table)} of the pruned weights' norm.", added),
    )


def finding(table: pd.DataFrame) -> str:
    """The same in the few words that the README has room for."""
    if not _told(table):
        return FEW
    rows = gains(table).drop_duplicates("gain").set_index("gain")
    soup, fair = (
        "none"
        if row["overall_mean"] != row["overall_mean"]
        else f"{100 * row['overall_mean']:+.1f} points ({row['overall']})"
        for row in (rows.loc["soup"], rows.loc["recalibrated"])
    )
    return f"{_far(table)} of the norm; averaging two copies adds {soup}, {fair} if all are recalibrated (corrected)"


def _told(table: pd.DataFrame) -> bool:
    """Whether there are seeds enough to tell anything."""
    return bool(gains(table)["p"].notna().any())


def _far(table: pd.DataFrame) -> str:
    """`from FT 0.7 % to CLR 36.0 %`: the shortest and the longest way."""
    own = went(table).sort_values("distance_from_pruned", kind="stable")
    near, far = (f"{row['schedule']} {percent(row['distance_from_pruned'])}" for _, row in own.iloc[[0, -1]].iterrows())
    return f"from {near} to {far}"


def _added(table: pd.DataFrame) -> str:
    """What averaging adds, with and without what recalibrating does for the copies as well."""
    rows = gains(table).drop_duplicates("gain").set_index("gain")
    return f"{overall(rows.loc['soup'])} points, {overall(rows.loc['recalibrated'])} if the copies are recalibrated too"


def _each(rows: pd.DataFrame, column: str, words: Callable[[float], str]) -> str:
    """`FT 0.7 %, LLR 35.1 %`; what diverged on every seed is not named."""
    return ", ".join(f"{row['schedule']} {words(row[column])}" for _, row in rows.dropna(subset=column).iterrows())


def _went(table: pd.DataFrame) -> str:
    own = went(table)
    rows = own[own["sparsity"] == own["sparsity"].max()]
    first = rows.iloc[0]
    return (
        f"At sparsity {share(first['sparsity'])} the prune goes {percent(norm_drop(rows))} of the dense weights' "
        "norm; from there retraining goes, as a share of the pruned weights' norm: "
        f"{_each(rows, 'distance_from_pruned', percent)}. Of the signs of the weights that stay it turns: "
        f"{_each(rows, 'sign_flips', percent)}."
    )


def _way(table: pd.DataFrame) -> str:
    rows = along(table)
    start = rows[(rows["sparsity"] == went(table)["sparsity"].max()) & (rows["place"] == 0)].iloc[0]
    lines = rows[rows["place"] <= 1].sort_values("place").groupby(["sparsity", "schedule"])["recalibrated_loss"]
    falls = sum(line.is_monotonic_decreasing for _, line in lines)
    return (
        f"Recalibrating BatchNorm alone takes the pruned network's validation loss there from {start['loss']:.2f} to "
        f"{start['recalibrated_loss']:.2f}. On the line to the retrained network the recalibrated loss falls all the "
        f"way in {falls} of {lines.ngroups} cells (means over seeds)."
    )


def _between(table: pd.DataFrame) -> str:
    own = cells(table).dropna(subset=["barrier", "recalibrated_barrier"])
    if own.empty:
        return "Between two copies no loss was finite."
    top = own.loc[own["recalibrated_barrier"].idxmax()]
    return (
        f"Between two copies the recalibrated loss rises at most {top['recalibrated_barrier']:.4f} above the "
        f"straight line between its ends ({top['schedule']} at sparsity {share(top['sparsity'])}, mean over seeds), "
        f"the raw one at most {own['barrier'].max():.4f}."
    )


def answer(table: pd.DataFrame) -> str:
    """What averaging adds on average over all cells, in a sentence."""
    rows = gains(table)
    if not _told(table):
        return f"{FEW.capitalize()}."
    each = "; ".join(f"{WORDS[row['gain']]}: {overall(row)}" for _, row in rows.drop_duplicates("gain").iterrows())
    return f"Test accuracy of the average of two copies less the mean of theirs, over all cells, in points: {each}."


def _counts(table: pd.DataFrame) -> list[str]:
    """In how many cells averaging helps, and harms; nothing where nothing can be told."""
    rows = gains(table)
    if not _told(table):
        return []
    cells = [part["verdict"].value_counts() for _, part in rows.groupby("gain", sort=False)]
    better, worse = ([str(found.get(verdict, 0)) for found in cells] for verdict in ("better", "worse"))
    sure = rows["corrected"].value_counts()
    return [
        f"By their intervals these are better in {listed(better)} of {cells[0].sum()} cells, worse in "
        f"{listed(worse)}; after Holm's correction for all {rows['p'].notna().sum()} comparisons, better in "
        f"{sure.get('better', 0)} and worse in {sure.get('worse', 0)}."
    ]
