"""Saved figures as pages: the picture of each preset's folder, its caption and findings, and the claims it speaks of."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrainlab.checks import BadInput
from retrainlab.figures import pages
from retrainlab.figures.blocks import text_of
from retrainlab.figures.provenance import number
from retrainlab.figures.sentences import FIGURES
from retrainlab.parsing import parsed
from retrainlab.paths import command
from retrainlab.phrases import listed
from retrainlab.site import documents
from retrainlab.site.frame import Entry

ENDS = ("svg", "png", "csv")  # that go along
READABLE = 1.1  # pixels for a point of a picture on a phone: its smallest type, of 10 points, has 11 then


@dataclass(frozen=True)
class Verdict:
    """A claim, and what the parts of it say that were tested on one figure: (part, state)."""

    name: str
    statement: str
    verdict: str
    parts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Drawn:
    """A figure in one folder. where: its data set, in words; wide: its picture's width in points, 0 if that is not told."""

    figure: pages.Shown
    folder: str
    where: str
    verdicts: Sequence[Verdict]
    wide: float

    @property
    def readable(self) -> int:
        """How many pixels wide the picture must be for its smallest type to be read; 0 if that is not known."""
        return round(READABLE * self.wide)

    @property
    def caption(self) -> str:
        return self.figure.about["caption"]

    @property
    def points(self) -> list[str]:
        """Sentences on it that the caption does not have."""
        return [point for point in self.figure.words.points if point.rstrip(".") not in self.caption]

    @property
    def devices(self) -> str:
        return listed(self.figure.about["devices"]) if self.figure.about["devices"] else ""

    def file(self, end: str) -> str:
        """The path in the site, and under the project's figures/, of the file with that end."""
        return f"figures/{self.folder}/{self.figure.name}.{end}"


@dataclass(frozen=True)
class Figure:
    """A figure's page. text: what its notebook begins with, as Markdown; drawn: in which folders it is."""

    name: str
    title: str
    text: str
    drawn: Sequence[Drawn]

    @property
    def entry(self) -> Entry:
        short = self.title.partition(": ")[2] or self.title
        return Entry(
            self.name, self.title, f"{number(self.name)}: {short}", "Figures", self.drawn[0].figure.words.finding
        )


def every(project: Path, figures: Path) -> list[Figure]:
    """The figures that are in at least one of the folders that the README tells of. project: where the notebooks are;
    figures: the folder of these folders. Raises BadInput for a damaged one."""

    def read(path: str) -> str | None:
        return text_of(figures.parent / path)

    found: dict[str, list[Drawn]] = {}
    for folder, where in pages.FOLDERS.items():
        claims = _claims(path := f"figures/{folder}/claims.json", read(path))
        for shown in pages.shown(read, folder):
            own = [v for figure, v in claims if figure == shown.name]
            wide = _points(read(f"figures/{folder}/{shown.name}.svg") or "")
            found.setdefault(shown.name, []).append(Drawn(shown, folder, where, own, wide))
    return [_figure(project, name, found[name]) for name in FIGURES if name in found]


def _points(svg: str) -> float:
    """The width that a picture names."""
    found = re.search(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', svg[:5000])
    return float(found[1]) if found else 0.0


def _figure(project: Path, name: str, drawn: Sequence[Drawn]) -> Figure:
    notebook = json.loads((project / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return Figure(name, *documents.titled("".join(first["source"])), drawn)


def _claims(path: str, text: str | None) -> list[tuple[str, Verdict]]:
    """(figure, what a claim says of it), for each claim and figure of it."""
    out = []
    try:
        for claim in parsed(text)["claims"] if text else []:
            for figure in dict.fromkeys(part["figure"] for part in claim["parts"]):
                parts = [(part["says"], part["state"]) for part in claim["parts"] if part["figure"] == figure]
                out.append((figure, Verdict(claim["name"], claim["statement"], claim["verdict"], parts)))
    except (LookupError, ValueError, TypeError):
        again = command(f"claims --preset {Path(path).parent.name}")
        raise BadInput(f"{path} is damaged or another version's; make it again: {again}.") from None
    return out
