"""Tables as people open and read them: the one place where CSV is written, and columns of text are aligned."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.paths import write_whole

if TYPE_CHECKING:
    import pandas as pd

FORMULA = (*"=+-@\t\r\n", *"＝＋－＠")  # a spreadsheet computes a text that begins so; take.js has the same


def csv(frame: "pd.DataFrame", float_format: str | None = None) -> str:
    """The frame as CSV without its index. A text that begins like a formula has an apostrophe before it, with which a
    spreadsheet shows it as text; numbers stay, also those written as text. Source: OWASP, CSV injection."""
    safe = frame.copy()
    for name in frame.select_dtypes(exclude=["number", "bool"]).columns:
        safe[name] = frame[name].map(harmless)
    return safe.rename(columns=harmless).to_csv(index=False, float_format=float_format, lineterminator="\n")


def write(frame: "pd.DataFrame", path: Path) -> None:
    """Write the frame as CSV, in UTF-8 with escapes for what is no text. Raises OSError, with the old file as it was."""
    content = csv(frame).encode("utf-8", "backslashreplace")
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row, its cells aligned at their right ends; all rows are of one length."""
    line = "  ".join(f"{{:>{max(map(len, column))}}}" for column in zip(*rows))
    return (line.format(*row) for row in rows)


def harmless(cell: object) -> object:
    """A cell with an apostrophe before it if it is a text that a spreadsheet would compute, unless it is a number."""
    if isinstance(cell, str) and cell.startswith(FORMULA):
        try:
            float(cell)
        except ValueError:
            return f"'{cell}"
    return cell
