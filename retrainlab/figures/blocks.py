"""Pages with blocks that are made: between two lines that a reader does not see stands what a function makes of the old."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from retrainlab.checks import BadInput
from retrainlab.paths import project, write_text

Read = Callable[[str], str | None]
"""The text of a file by its path in the project; None where there is none."""


def filled(path: str, page: str | None, blocks: Mapping[str, Callable[[str], str]]) -> str:
    """The page with what each function makes of the block of its name. Raises BadInput where there is no page, or a block is
    not in it once."""
    if page is None:
        raise BadInput(f"{path} is not here; run this in a clone of the project.")
    for name, block in blocks.items():
        start, end = f"<!-- {name}: made by retrainlab words -->\n", f"<!-- end of {name} -->\n"
        parts = re.split(f"({re.escape(start)}|{re.escape(end)})", page)
        if parts[1::2] != [start, end]:
            raise BadInput(f"{path} must have these two lines once, in this order: {start.strip()} {end.strip()}")
        page = "".join([*parts[:2], block(parts[2]), *parts[3:]])
    return page


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, each line ended."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) + "\n" for line in lines)


def safe(text: str) -> str:
    """The text with backslashes before what Markdown would read as its own."""
    return re.sub(r"([\\`*_<>|[\]])", r"\\\1", text)


def on_disk(path: str) -> str | None:
    """The text of a file of the project, as it lies there."""
    return text_of(project() / path)


def text_of(file: Path) -> str | None:
    """The text of a file; None where there is none. Raises BadInput for what is no text."""
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else None
    except UnicodeDecodeError:
        raise BadInput(f"{file} is damaged: it is no text; make it again, or remove it.") from None


def write(pages: Mapping[str, str]) -> None:
    """Write pages by their paths in the project, and say of each whether it has changed."""
    for path, text in pages.items():
        same = text == on_disk(path)
        if not same:
            write_text(project() / path, text)
        print(f"{path}: {'as it was' if same else 'written'}")
