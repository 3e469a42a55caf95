"""What every page of the site has: its place in one nav, the schedules spelt out, terms explained where they first occur."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from retrainlab import glossary
from retrainlab.explore.kit import pages

TEMPLATES = Path(__file__).parent / "templates"
EXPLAINED = ("sparsity", "budget", "stability")  # wherever they first occur in a page's sentences
GROUPS = ("Explorers", "Figures", "Sessions", "Words")


@dataclass(frozen=True)
class Entry:
    """A page of the site, NAME.html. short: its name in the nav; group: one of GROUPS; about: a sentence for the index."""

    name: str
    title: str
    short: str
    group: str
    about: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}.html"


class Frame:
    """Renders pages by the templates. entries: all pages but the index, in the order of the nav."""

    def __init__(self, entries: Sequence[Entry]):
        from jinja2 import Environment, FileSystemLoader  # comes with nbconvert

        self.entries = list(entries)
        self.templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)

    @property
    def names(self) -> list[str]:
        """Of all pages but the index."""
        return [entry.name for entry in self.entries]

    def page(self, template: str, name: str, title: str, **more: object) -> str:
        """The whole HTML of the page of that name. template: a file of `templates`; more: what that needs."""
        return self.templates.get_template(template).render(
            name=name,
            title=title,
            groups={group: [e for e in self.entries if e.group == group] for group in GROUPS},
            style=pages.style() + (TEMPLATES / "site.css").read_text(),
            script=(TEMPLATES / "frame.js").read_text(),
            schedules=[*glossary.SCHEDULES.values(), glossary.BIMP],
            terms=terms(),
            explain=Explainer(),
            **more,
        )


def terms() -> dict[str, glossary.Term]:
    """The terms that every page explains, by the anchor of each."""
    found = [*glossary.GROUPS["The three steps"], *glossary.SCHEDULES.values(), glossary.BIMP]
    found += [t for t in _all() if t.name in EXPLAINED and t not in found]
    return {f"word-{re.sub('[^a-z]+', '-', t.name.lower())}": t for t in found}


def _all() -> Iterable[glossary.Term]:
    return (term for group in glossary.GROUPS.values() for term in group)


class Explainer:
    """Of one page: a text as HTML in which the first occurrence of each of EXPLAINED links to what it means."""

    def __init__(self) -> None:
        self.known = {t.name: (anchor, t.words) for anchor, t in terms().items() if t.name in EXPLAINED}

    def __call__(self, text: str) -> str:
        from markupsafe import Markup

        return Markup(self.html(escape(text)))

    def html(self, text: str) -> str:
        """The same of a text that is HTML already, whose tags, links and headings stay as they are."""
        pieces = re.split(r"(<[^>]*>)", text)  # texts, and the tags between them
        for place in range(0, len(pieces), 2):
            if place and re.match(r"<(a|h\d|code|m\w+)\b", pieces[place - 1]):
                continue
            for name, (anchor, words) in list(self.known.items()):
                link = rf'<a class="term" href="#{anchor}" title="{escape(words)}">\1</a>'
                pieces[place], found = re.subn(rf"\b({name})\b(?![^<]*</a>)", link, pieces[place], count=1, flags=re.I)
                if found:
                    del self.known[name]
        return "".join(pieces)
