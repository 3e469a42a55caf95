"""What the table of figure 13 says: what a mask saves in time and in bytes, and what it costs."""

import pandas as pd

from retrainlab.figures.sentences.phrases import Said
from retrainlab.phrases import percent, share

NAMES = {"unstructured": "single weights", "n:m": "n:m patterns", "filters": "filters"}
FILES = {  # by the ends of the columns bytes_*; a name that ends in _gzip is the file before it, gzipped
    "dense": "dense",
    "dense_gzip": "dense, gzipped",
    "bitmask": "bit mask and values",
    "bitmask_gzip": "bit mask and values, gzipped",
    "csr": "sparse rows (CSR)",
    "csr_gzip": "sparse rows (CSR), gzipped",
}


def storage(table: pd.DataFrame) -> Said:
    """What figure 13 says of speed, bytes and accuracy."""
    dense, most = percent(table["dense"].iloc[0]), _most(table)
    there = "; ".join(f"{percent(row['mean'])} for {_what(row)}" for _, row in most.iterrows())
    results = speed(table), size(table), cost(table)
    return (
        "Panels over the share of weights removed, a line for each structure of the mask. Test accuracy after "
        f"retraining: the dense network has {dense}; where most is removed there is left {there}. Speed-up in theory "
        f"and measured: {results[0]} Sizes of six files of each network, as shares of the dense one: {results[1]}",
        " ".join(results),
        (
            _sentence(_faster(table)),
            _sentence(_smaller(table)),
            f"Test accuracy where most is removed: {there}; dense {dense}.",
        ),
    )


def finding(table: pd.DataFrame) -> str:
    """The same in the few words that the README has room for."""
    ratio, rows, said = _ratio(table), table[table["measured"].notna()], "masks alone save no time"
    if len(rows):
        best = rows.loc[rows["measured"].idxmax()]
        price = f"{100 * best['cost_mean']:+.1f} points ({best['cost_corrected']}, corrected)"
        said += f"; without {_place(best)} of the filters {best['measured']:.2f} times as fast, at {price}"
    return f"{said}; files up to {ratio.max():.1f} times smaller ({_what(table.loc[ratio.idxmax()])})"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _faster(table: pd.DataFrame) -> str:
    said, rows = "a mask alone makes no network faster", table[table["measured"].notna()]
    if rows.empty:
        return said
    best = rows.loc[rows["measured"].idxmax()]
    return (
        f"{said}; taking filters out makes it {best['measured']:.2f} times as fast at best, without {_place(best)} "
        f"of them ({best['smaller']:.2f} in theory), at {100 * best['cost_mean']:+.1f} points "
        f"({best['cost_verdict']})"
    )


def _smaller(table: pd.DataFrame) -> str:
    words, ratio = _smallest(table)[0], _ratio(table)
    best = ratio.idxmax()
    where = f"{_what(table.loc[best])}: {words[best]}"
    return f"the smallest file is {ratio[best]:.1f} times smaller than the dense one ({where})"


def _what(row: pd.Series) -> str:
    """`single weights at 98 %`, `2:4`, or `filters at 75 % (89.5 % of the weights)`."""
    if row["structure"] == "n:m":
        return _place(row)
    said = f"{NAMES[row['structure']]} at {_place(row)}"
    return f"{said} ({percent(row['removed'])} of the weights)" if row["structure"] == "filters" else said


def _place(row: pd.Series) -> str:
    """`98 %`, or `2:4`."""
    return str(row["pattern"]) if row["structure"] == "n:m" else share(row["sparsity"])


def _most(table: pd.DataFrame) -> pd.DataFrame:
    """The row of each structure that has removed most."""
    return table.sort_values("removed", kind="stable").drop_duplicates("structure", keep="last").sort_index()


def speed(table: pd.DataFrame) -> str:
    """What the multiply-adds promise, and what was measured, in sentences."""
    top, rows = table.loc[table["theory"].idxmax()], table[table["measured"].notna()]
    said = "A mask alone makes no network faster, though the multiply-adds fall, for example "
    said += f"{top['theory']:.1f} times for {_what(top)}."
    if rows.empty:
        return said
    each = "; ".join(
        f"{row['measured']:.2f} ({row['measured_low']:.2f} to {row['measured_high']:.2f}) without {_place(row)} of "
        f"the filters, {row['smaller']:.2f} in theory"
        for _, row in rows.iterrows()
    )
    return f"{said} Measured (median and quartiles over seeds), the smaller network is this many times as fast: {each}."


def _smallest(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Of each row the words for the smallest file, and its bytes."""
    files = table[[f"bytes_{name}" for name in FILES]]
    return files.idxmin(axis=1).str.removeprefix("bytes_").map(FILES), files.min(axis=1)


def _ratio(table: pd.DataFrame) -> pd.Series:
    """How many times each row's smallest file is smaller than its dense one."""
    return table["bytes_dense"] / _smallest(table)[1]


def size(table: pd.DataFrame) -> str:
    """Which file is the smallest, in sentences."""
    words, least = _smallest(table)
    ratio, most = _ratio(table), _most(table)
    each = "; ".join(f"{ratio[i]:.1f} times for {_what(row)} ({words[i]})" for i, row in most.iterrows())
    more, beaten = (table["bytes_dense_gzip"] / least - 1).max(), table["bytes_csr"] < table["bytes_bitmask"]
    rows = "; ".join(_what(row) for _, row in table[beaten].iterrows()) or "none"
    return (
        f"Where most is removed the smallest file is smaller than the dense one by {each}. The dense file, gzipped, "
        f"is at most {percent(more)} larger than the smallest one. Without gzip, CSR beats the bit mask for: {rows}."
    )


def cost(table: pd.DataFrame) -> str:
    """What each mask costs in accuracy, in a sentence."""
    parts = []
    for name, rows in table.groupby("structure", sort=False):
        each = (f"{_place(row)} {100 * row['cost_mean']:+.1f} ({row['cost_verdict']})" for _, row in rows.iterrows())
        parts.append(f"{NAMES[str(name)]}: {', '.join(each)}")
    return f"Test accuracy less the dense network's, in points (verdicts uncorrected): {'; '.join(parts)}."
