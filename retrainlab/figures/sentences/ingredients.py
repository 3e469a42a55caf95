"""What the table of figure 12 says: what is each ingredient of a retraining worth?"""

import math

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, overall, too_few
from retrainlab.phrases import listed, percent, share
from retrainlab.study.changes import BASE, LLR, PERP


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each ingredient, whose overall columns are its difference on average over all cells."""
    return table.dropna(subset="overall").drop_duplicates(["base", "ingredient"])


def ingredients(table: pd.DataFrame) -> Said:
    """What figure 12 says of each ingredient on average over the cells, and of what PERP keeps of LLR's gain."""
    means = "; ".join(f"{_name(row)} {overall(row)}" for _, row in averages(table).iterrows())
    return (
        f"A forest plot: a row for each ingredient of a retraining, with the difference that it makes to test accuracy and "
        f"its interval. {_bases(table)} In points, {_where(table)}: {means}. {kept(table)}",
        f"{_verdicts(table)} {kept(table)}",
        (_verdicts(table), kept(table)),
    )


def finding(table: pd.DataFrame) -> str:
    """The verdicts in the few words that the README has room for."""
    if too_few(table):
        return FEW
    rows, said = averages(table), []
    for words, verdict in (("helps", "better"), ("harms", "worse")):
        if names := [_name(row) for _, row in rows[rows["overall"] == verdict].iterrows()]:
            said.append(f"{words}: {', '.join(names)}")
    return "; ".join([*said, f"undecided: {(rows['overall'] == 'undecided').sum()} of {len(rows)}"])


def kept(table: pd.DataFrame) -> str:
    """What retraining biases and normalisation alone keeps of LLR's gain since the prune, in a sentence."""
    own = table[(table["base"] == LLR) & (table["ingredient"] == PERP)]
    if not (told := [f"{_kept(row)} at {_cell(row)}" for _, row in own.dropna(subset="kept_mean").iterrows()]):
        return f"With {PERP}, what is kept of {LLR}'s gain is undefined: it gains nothing on some seed, or diverged."
    return f"With {PERP}, {listed(told)} of {LLR}'s gain since the prune is kept."


def _kept(row: pd.Series) -> str:
    """`63.6 % (57.7 to 69.6)`."""
    low, high = 100 * row["kept_low"], 100 * row["kept_high"]
    return percent(row["kept_mean"]) + (f" ({low:.1f} to {high:.1f})" if math.isfinite(low) else "")


def _verdicts(table: pd.DataFrame) -> str:
    """Which ingredients are shown to matter, by how much, and how many are not."""
    if too_few(table):
        return f"{FEW.capitalize()}."
    rows = averages(table)
    sure = rows[rows["overall"] != "undecided"]
    named = "; ".join(f"{_name(row)} {overall(row)}" for _, row in sure.iterrows()) or "none"
    return (
        f"In points, {_where(table)}, shown after Holm's correction for {len(rows)} comparisons: {named}. "
        f"Undecided: {len(rows) - len(sure)}."
    )


def _bases(table: pd.DataFrame) -> str:
    """The accuracies of the bases in every cell, and straight after the prune."""
    cells = []
    for _, rows in table[table["ingredient"] == BASE].groupby(["sparsity", "budget"], sort=False):
        means = ", ".join(f"{name} {percent(mean)}" for name, mean in zip(rows["base"], rows["mean"]))
        cells.append(f"at {_cell(rows.iloc[0])} {means}, straight after the prune {percent(rows['pruned'].iloc[0])}")
    return f"Unchanged: {'; '.join(cells)}."


def _name(row: pd.Series) -> str:
    """The ingredient, with its base if that is not LLR: `norm of all parameters (ALLR)`."""
    return row["ingredient"] if row["base"] == LLR else f"{row['ingredient']} ({row['base']})"


def _cell(row: pd.Series) -> str:
    return f"sparsity {share(row['sparsity'])} and budget {share(row['budget'])}"


def _where(table: pd.DataFrame) -> str:
    """Over which cells the differences are averaged."""
    cells = table.drop_duplicates(["sparsity", "budget"])
    return f"at {_cell(cells.iloc[0])}" if len(cells) == 1 else f"on average over {len(cells)} cells"
