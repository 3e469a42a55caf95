"""Tables as people open them: the one place where CSV is written."""

from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.paths import write_whole

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet computes a text that begins so


def csv(frame: "pd.DataFrame", float_format: str | None = None) -> str:
    """The frame as CSV without its index. A text that begins like a formula has an apostrophe before it, which spreadsheets
    show as text; numbers stay as they are, and so do texts that are numbers.

    Source: OWASP, CSV injection.
    """
    safe = frame.copy()
    for name in frame.select_dtypes(exclude=["number", "bool"]).columns:
        safe[name] = frame[name].map(plain)
    return safe.rename(columns=plain).to_csv(index=False, float_format=float_format, lineterminator="\n")


def write(frame: "pd.DataFrame", path: Path) -> None:
    """Write it whole, as UTF-8 whatever the names in it are made of. Raises OSError, with the old file as it was."""
    content = csv(frame).encode("utf-8", "backslashreplace")
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def plain(cell: object) -> object:
    """A cell as a spreadsheet may have it: with an apostrophe before a text that it would compute."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
