"""Markdown of the project as a page of the site: links lead to what the site has; those to other files become words."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle

from retrainlab.site.frame import Entry


@dataclass(frozen=True)
class Document:
    """A page of words. html: its HTML below the title, by the names of the site's pages, which links lead to."""

    entry: Entry
    html: Callable[[Sequence[str]], str]


LINK = re.compile(r"(?<!!)\[([^]]+)\]\(([^)\s]+)\)")
WORDY = 40  # letters of a cell whose table is hard to read where it scrolls


def target(link: str, names: Iterable[str]) -> str:
    """Where a link of the project's Markdown leads in a site with pages of these names; empty for what is not in it.

    `fig03_budgets.ipynb` and `../figures/digits/fig03_budgets.png` lead to `fig03_budgets.html`, `explore_race.ipynb` to
    `race.html`, `references.md#zimmer-2023` to `references.html#zimmer-2023`; an address and an anchor stay.
    """
    if re.match(r"https?:|mailto:|#", link):
        return link
    path, mark, anchor = link.partition("#")
    if path.endswith(".py"):
        return ""
    stem = path.rpartition("/")[2].rpartition(".")[0].removeprefix("explore_")
    stem = {"start_here": "start"}.get(stem, stem)
    return f"{stem}.html{mark}{anchor}" if stem in set(names) else ""


def relinked(text: str, names: Iterable[str]) -> str:
    """The Markdown with its links as `target` says; what leads nowhere becomes its words."""
    known = set(names)

    def link(match: re.Match) -> str:
        there = target(match[2], known)
        return f"[{match[1]}]({there})" if there else match[1]

    return LINK.sub(link, text)


def rendered(text: str, names: Iterable[str], deeper: int = 0, own: bool = True) -> str:
    """The Markdown as HTML, relinked. Tables scroll by themselves, or become cards (see `carded`), and headings have anchors
    as GitHub makes them.

    deeper: by how many levels headings go down. own: whether it is a text of the project, whose HTML stays HTML; of any
    other it is shown as text.
    """
    import mistune  # comes with nbconvert

    def heading(match: re.Match) -> str:
        anchor = re.sub(r"[^\w -]", "", _words(match[2])).strip().lower().replace(" ", "-")
        level = int(match[1]) + deeper
        return f'<h{level} id="{anchor}">{match[2]}</h{level}>'

    html = str(mistune.create_markdown(escape=not own, plugins=["table"])(relinked(text, names)))
    html = re.sub(r"<h(\d)>(.*?)</h\1>", heading, html)
    html = re.sub(r"<table>.*?</table>", lambda match: carded(match[0]), html, flags=re.S)
    html = re.sub(r"(<table\b.*?</table>)", r'<div class="wide" tabindex="0">\1</div>', html, flags=re.S)
    html = html.replace("<pre>", '<pre tabindex="0">')
    return re.sub(r"<th>\s*</th>", "<td></td>", html)


def carded(table: str) -> str:
    """A table's HTML with the heading of each cell in the cell, so that a narrow page can show each row as a card; as it is
    if all its cells are short."""
    heads, cells = (re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", table, re.S) for tag in ("th", "td"))
    if not heads or max((len(_words(cell)) for cell in cells), default=0) < WORDY:
        return table
    labels = cycle([_words(head).strip() for head in heads])
    inside = re.sub(r"<td\b", lambda _: f'<td data-label="{next(labels)}"', table)
    return inside.replace("<table>", '<table class="wordy">', 1)


def _words(html: str) -> str:
    """Without its tags."""
    return re.sub("<.*?>", "", html)


def titled(text: str) -> tuple[str, str]:
    """The first heading of a Markdown text, and the rest."""
    first, _, rest = text.lstrip().partition("\n")
    return first.lstrip("# ").strip(), rest.strip()
