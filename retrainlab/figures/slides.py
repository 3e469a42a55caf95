"""`retrainlab slides`: a deck for a reading group, from notebooks/slides_retraining.ipynb, as one HTML file and a PDF.

The notebook shows figures that are there and computes none; what it says of them is read from their tables. The HTML loads
nothing: reveal.js (vendor/reveal) and the pictures are inside.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab import references
from retrainlab.checks import BadInput, choose
from retrainlab.config import PRECISIONS
from retrainlab.figures import notebooks, presets
from retrainlab.figures.printing import NoPrint, to_pdf
from retrainlab.figures.sentences import FIGURES, words
from retrainlab.parsing import parsed, read_file
from retrainlab.paths import command, make_writable, project, write_text
from retrainlab.phrases import listed
from retrainlab.stats import read_saved

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from retrainlab.figures.saving import Picture

NAME = "slides_retraining"
CELL_TIMEOUT = 600  # seconds
NO_PDF = (
    "The PDF was left out: {why}. To get it, install Chromium (on Debian: apt install chromium) and run this again, or open "
    "the HTML in Chrome or Edge with ?print-pdf at the end of its address and print it to a file."
)
START = """Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t", transition: "none",
  backgroundTransition: "none", pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
});"""


@dataclass(frozen=True)
class Evidence:
    """A figure with sentences read from its table, as a slide shows them."""

    picture: "Picture"
    sentences: tuple[str, ...]

    def _repr_html_(self) -> str:
        width, height = _size(self.picture.png)
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences)
        place = "beside" if width < 1.6 * height else "below"  # a tall figure leaves room beside it
        return f'<div class="evidence {place}"><ul>{items}</ul>{self.picture._repr_html_()}</div>'


@dataclass(frozen=True)
class Deck:
    """The figures that slides show: those of a preset in a precision, its own if empty, or those in a folder `figures`."""

    preset: str = "digits"
    figures: str = ""
    precision: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the figures, and of the tables and words beside them."""
        return presets.folder(self.settings)

    @property
    def settings(self) -> presets.Preset:
        """The preset in that precision."""
        return presets.asked(self.preset, self.figures, precision=self.precision)

    def check(self) -> None:
        """Raise BadInput for an unknown preset or precision, or unless every figure is there, whole, as this version saves
        it, and in that precision where no folder is named."""
        choose(self.preset, presets.PRESETS, "preset")
        if self.precision:
            choose(self.precision, PRECISIONS, "precision")
        usual, wanted = presets.preset(self.preset).precision, self.settings.precision
        own = "" if wanted == usual else f" --precision {wanted}"
        again = f"make it again: {command(f'figures --preset {self.preset}{own}')}."
        ends = ("png", "csv", "json")
        if missing := [n for n in FIGURES if not all((self.folder / f"{n}.{end}").is_file() for end in ends)]:
            raise BadInput(f"The slides show what is in {self.folder}, but {', '.join(missing)} is not there; {again}")
        for name in FIGURES:
            try:
                self.show(name)
                made = self._about(name)["parameters"].get("precision", usual)
            except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError):  # numbers may be texts
                raise BadInput(
                    f"The picture, table or words of {name} in {self.folder} are damaged or another version's; {again}"
                ) from None
            if made != wanted and not self.figures:
                raise BadInput(f"{name} in {self.folder} was made in {made}, not {wanted}; {again}")

    def show(self, name: str) -> Evidence:
        """The figure `name`, one of `sentences.FIGURES`, with its alternative text, its caption and what its table says."""
        from retrainlab.figures.saving import Picture

        about, said = self._about(name), words(name, read_saved(self.folder / f"{name}.csv"))
        image = (self.folder / f"{name}.png").read_bytes()
        _size(image)
        return Evidence(Picture(image, about["alt"], about["caption"]), said.points)

    def _about(self, name: str) -> dict:
        """What is saved beside the figure; ValueError unless all that slides show of it is there."""
        about = parsed(read_file(self.folder / f"{name}.json"))
        kinds = {"alt": str, "caption": str, "devices": list, "parameters": dict}
        if not isinstance(about, dict) or any(not isinstance(about.get(key), kind) for key, kind in kinds.items()):
            raise ValueError(name)
        return about

    def _repr_html_(self) -> str:
        self.check()
        devices = sorted({str(device) for name in FIGURES for device in self._about(name)["devices"]})
        own = sorted({f"{key} {value}" for name in FIGURES for key, value in self._about(name)["parameters"].items()})
        but = f", but for {listed(own)}" if own else ""
        return f"<p>Figures: preset {self.preset}{escape(but)}, computed on {escape(' and '.join(devices))}.</p>"


def _size(png: bytes) -> tuple[int, int]:
    """Width and height of the picture, which is read to its end. Raises ValueError for a damaged one."""
    from PIL import Image

    try:
        with Image.open(BytesIO(png), formats=["PNG"]) as image:
            image.verify()
            return image.size
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from None


def make(
    output: str = "", preset: str = "digits", pdf: bool = True, figures: str = "", precision: str = ""
) -> list[Path]:
    """Write slides_retraining.html, and with `pdf` slides_retraining.pdf, to `output` (`slides` in the project if empty).
    They show the preset's figures in that precision, or those in the folder `figures`.

    Returns what was written; where no browser prints, that is the HTML alone, and a sentence says so. Raises BadInput before
    any work for an unknown preset, figures that are not there, and a folder that cannot be written; Failed if the notebook
    ends with anything else.
    """
    deck = Deck(preset, str(Path(figures).resolve()) if figures else "", precision)
    deck.check()
    folder = Path(output).resolve() if output else project() / "slides"
    page, printed = folder / f"{NAME}.html", folder / f"{NAME}.pdf"
    made = [page, printed] if pdf else [page]
    make_writable(folder, [path.name for path in made])
    notebook = _executed(deck, folder)
    write_text(page, html(notebook))
    if pdf:
        try:
            to_pdf(html(notebook, script=False), printed)
        except NoPrint as reason:
            made.remove(printed)
            print(NO_PDF.format(why=reason), file=sys.stderr, flush=True)
    for path in made:
        print(f"{path}  ({path.stat().st_size / 2**20:.1f} MiB)", flush=True)
    return made


def _executed(deck: Deck, folder: Path) -> "NotebookNode":
    path = project() / "notebooks" / f"{NAME}.ipynb"
    notebook = notebooks.execute(path, asdict(deck), folder / "failed" / path.name, CELL_TIMEOUT)
    addresses = references.addresses()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # the HTML goes where the project's files do not
            cell.source = linked(cell.source, addresses)
        else:  # what libraries print on one machine is nothing for an audience
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return notebook


def linked(text: str, addresses: Mapping[str, str]) -> str:
    """The markdown with links that lead somewhere from wherever the HTML is: of a link to a work its address, to a notebook
    its name, to another file of the project the words.

    addresses: of works, by their anchors in docs/references.md.
    """

    def elsewhere(match: re.Match) -> str:
        address = addresses.get(match[2].partition("references.md#")[2])
        return f"[{match[1]}]({address})" if address else match[1]

    named = re.sub(r"\[[^]]+\]\(([\w-]+\.ipynb)\)", r"`notebooks/\1`", text)
    return re.sub(r"\[([^]]+)\]\((?!https?:)([^)]+)\)", elsewhere, named)


def html(notebook: "NotebookNode", script: bool = True) -> str:
    """The executed notebook as one HTML text that loads nothing: slides, or without `script` a page a slide to print."""
    from nbconvert import SlidesExporter

    here = Path(__file__).parent
    hidden = ("exclude_input", "exclude_input_prompt", "exclude_output_prompt", "exclude_anchor_links")
    exporter = SlidesExporter(template_file=str(here / "slides.html.j2"), **dict.fromkeys(hidden, True))

    def vendored(*names: str) -> list[str]:
        return [(here / "vendor" / "reveal" / name).read_text(encoding="utf-8") for name in names]

    files = {"css": vendored("reset.css"), "js": []}
    if script:
        scripts = [*vendored("reveal.js", "notes.js"), START]
        unread = re.compile("<(?=!--|/?script)")  # would change how HTML is read on
        files = {"css": vendored("reset.css", "reveal.css"), "js": [unread.sub(r"\\x3c", text) for text in scripts]}
    return exporter.from_notebook_node(notebook, resources={"reveal_files": files})[0]
