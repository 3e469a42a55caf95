"""What the table of figure 15 says: which claims are supported, contradicted, undecided or not tested."""

import math

import pandas as pd

from retrainlab.figures.sentences.phrases import Said
from retrainlab.phrases import listed

VERDICTS = ("supported", "contradicted", "undecided", "not tested")


def claims(table: pd.DataFrame) -> Said:
    """What figure 15 says of the claims, and of the parts that fail."""
    said, failed = finding(table), failures(table)
    told = f"{said[:1].upper()}{said[1:]}."
    counts = table["state"].value_counts()
    counted = ", ".join(f"{state}: {counts.get(state, 0)}" for state in ("holds", "fails", "open"))
    return (
        f"A row for each part of each claim: how far its mean over seeds lies on the claim's side of its boundary, in units "
        f"of the smallest difference that these seeds could have shown, with a 95 % interval. {told}",
        " ".join([told, *failed]),
        (told, f"Of {counts.sum()} parts: {counted}."),
    )


def finding(table: pd.DataFrame) -> str:
    """The verdicts, in the few words that a row of a table has room for: `supported: C1 and C2; undecided: C3`."""
    each = table.drop_duplicates("claim").groupby("verdict")["claim"].agg(list)
    return "; ".join(f"{verdict}: {listed(each[verdict])}" for verdict in VERDICTS if verdict in each)


def failures(table: pd.DataFrame) -> list[str]:
    """A sentence for each part that fails, with its mean and interval."""
    return [
        f"{row['claim']}: that {row['says']} fails ({_mean(row)})."
        for _, row in table[table["state"] == "fails"].iterrows()
    ]


def _mean(row: pd.Series) -> str:
    span = f", 95 % interval {row['low']:+.2f} to {row['high']:+.2f}" if math.isfinite(row["low"]) else ""
    return f"{row['mean']:+.2f} {row['unit']}{span}"
