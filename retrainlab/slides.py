"""`retrainlab slides`: a deck for a reading group, from notebooks/slides_retraining.ipynb, as one HTML file and a PDF.

The notebook shows figures that are there and computes none; what it says of them is read from their tables. The HTML loads
nothing: reveal.js (vendor/reveal) and the pictures are inside.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.errors import BadInput, choose
from retrainlab.paths import command, make_writable, project, write_whole
from retrainlab.presets import PRESETS

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

    from retrainlab.plots import Picture

NAME = "slides_retraining"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")  # that print
NO_PDF = (
    "The PDF was left out: {why}. To get it, install Chromium (on Debian: apt install chromium) and run this again, or open "
    "the HTML in Chrome or Edge with ?print-pdf at the end of its address and print it to a file."
)
START = """Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t", transition: "none",
  backgroundTransition: "none", pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
});"""
TALL = 1.6  # width over height, below which a figure leaves room beside it


# ---- what the notebook shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """A figure with sentences read from its table, as a slide shows them."""

    picture: "Picture"
    sentences: list[str]

    def _repr_html_(self) -> str:
        width, height = struct.unpack(">II", self.picture.png[16:24])
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences)
        place = "beside" if width < TALL * height else "below"
        return f'<div class="evidence {place}"><ul>{items}</ul>{self.picture._repr_html_()}</div>'


@dataclass(frozen=True)
class Deck:
    """The figures of a preset, or those in another folder: by `show`, one of SENTENCES."""

    preset: str = "digits"
    figures: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.figures) if self.figures else project() / "figures" / self.preset

    def check(self) -> None:
        """Raises BadInput for an unknown preset, or unless every figure is there."""
        choose(self.preset, PRESETS, "preset")
        missing = [
            n for n in SENTENCES if not all((self.folder / f"{n}.{e}").is_file() for e in ("png", "csv", "json"))
        ]
        if missing:
            raise BadInput(
                f"The slides show what is in {self.folder}, but {', '.join(missing)} is not there; first make it: "
                f"{command(f'figures --preset {self.preset}')}."
            )

    def show(self, name: str) -> Evidence:
        """The figure `name`, with its alternative text, its caption and what its table says."""
        import pandas as pd

        from retrainlab.plots import Picture

        table = pd.read_csv(self.folder / f"{name}.csv")
        about = self._about(name)
        image = (self.folder / f"{name}.png").read_bytes()
        return Evidence(Picture(image, about["alt"], about["caption"]), SENTENCES[name](table))

    def _about(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def _repr_html_(self) -> str:
        self.check()
        devices = sorted({device for name in SENTENCES for device in self._about(name)["devices"]})
        words = f"Figures: preset {self.preset}, computed on {' and '.join(devices)}."
        return f"<p>{escape(words)}</p>"


# ---- sentences: from a figure's table --------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _accuracies(names: "pd.Series", shares: "pd.Series", between: str = ", ") -> str:
    """`LLR 96.5, FT 81.1 %`, the highest first."""
    ranked = sorted(zip(shares, names), key=lambda pair: -pair[0])
    return between.join(f"{name} {100 * share:.1f}" for share, name in ranked) + " %"


def _schedules(table: "pd.DataFrame") -> list[str]:
    dense = table.loc[table["panel"] == "dense", "lr"]
    top = table[table["panel"] != "dense"].groupby(["panel", "schedule"], sort=False)["lr"].max().unstack()
    factors = (top["ALLR"] / top["LLR"]).map("{:.2f}".format)
    each = ", ".join(f"{factor} at {_percent(float(budget))}" for budget, factor in factors.items())
    d = f"{factors.iloc[0]} at every budget here" if factors.nunique() == 1 else each
    return [
        f"The dense run goes from {dense.max():g} to {dense.iloc[-1]:g}; FT stays at {top['FT'].iloc[0]:g}.",
        f"SLR, CLR and LLR rise to {top['LLR'].max():g} again, however short the budget.",
        f"ALLR starts at d times that: d is {d}.",
    ]


def _recovery(table: "pd.DataFrame") -> list[str]:
    seen = table.dropna(subset="validation_accuracy")
    pruned, steps = seen.loc[seen["step"] == 0, "validation_accuracy"].iloc[0], int(seen["step"].max())
    last = seen[seen["step"] == steps]
    return [
        f"Straight after the prune: {100 * pruned:.1f} % of the validation images.",
        f"{steps} steps later: {_accuracies(last['schedule'], last['validation_accuracy'])}.",
        "One network, one seed: a point or two may be luck. Figure 3 has more seeds.",
    ]


def _budgets(table: "pd.DataFrame") -> list[str]:
    judged = table.dropna(subset="verdict")
    [baseline] = set(table["schedule"]) - set(judged["schedule"])
    cells = judged.groupby("schedule").size().iloc[0]

    def count(verdict: str) -> str:
        found = judged.loc[judged["verdict"] == verdict, "schedule"].value_counts()
        return ", ".join(f"{schedule} in {n}" for schedule, n in found.items()) or "none"

    corner = table[(table["sparsity"] == table["sparsity"].max()) & (table["budget"] == table["budget"].min())]
    return [
        f"Shown worse than {baseline}, of {cells} cells: {count('worse')}. Shown better: {count('better')}.",
        f"Sparsity {_percent(corner['sparsity'].iloc[0])}, budget {_percent(corner['budget'].iloc[0])}: "
        f"{_accuracies(corner['schedule'], corner['mean'])}.",
    ]


def _best_lr(table: "pd.DataFrame") -> list[str]:
    points = 100 * (table["allr_accuracy"] - table["best_accuracy"])
    worst = table.loc[points.idxmin()]
    where = f"sparsity {_percent(worst['sparsity'])} and budget {_percent(worst['budget'])}"
    return [
        f"ALLR's test accuracy less that of the best start: {points.mean():+.1f} points on average, within half a point in "
        f"{(points.abs() <= 0.5).sum()} of {len(table)} cells.",
        f"Furthest off at {where}: {points.min():+.1f} points; "
        f"there {worst['best_lr']:g} is best, ALLR starts at {worst['allr_lr']:.2g}.",
    ]


def _contest(table: "pd.DataFrame") -> list[str]:
    from retrainlab.plots_methods import CONTROLS

    judged = table[~table["entrant"].isin(("BIMP", *CONTROLS))]

    def who(verdict: str) -> str:
        part = judged[judged["verdict"] == verdict].groupby("entrant", sort=False)["sparsity"]
        return ", ".join(f"{name} ({', '.join(f'{100 * s:g}' for s in found)})" for name, found in part) or "none"

    undecided = (judged["verdict"] == "undecided").sum()
    return [
        f"Shown better than BIMP, with the sparsities in %: {who('better')}. Shown worse: {who('worse')}.",
        f"Undecided: {undecided} of {len(judged)}. The intervals are not corrected for their number.",
    ]


def _split(table: "pd.DataFrame") -> list[str]:
    def choice(row: "pd.Series") -> str:
        cycles = f"{row['cycles']:.0f} cycle{'s' if row['cycles'] > 1 else ''}"
        return f"{_percent(row['share'])} dense, {cycles}: {100 * row['mean']:.1f} %"

    return [
        f"Sparsity {_percent(sparsity)}: highest mean at {choice(part.loc[part['mean'].idxmax()])}; "
        f"lowest at {choice(part.loc[part['mean'].idxmin()])}."
        for sparsity, part in table.groupby("sparsity")
    ]


def _stability(table: "pd.DataFrame") -> list[str]:
    raw = table[table["what"] == "raw"].set_index("entrant")

    def rank(column: str, names: "pd.Index") -> str:
        value = raw.loc[names, column].corr(raw.loc[names, "after"], method="spearman")
        return f"{value:+.2f}" if value == value else "undefined"

    others, imp = raw.index.drop("IMP"), raw.loc["IMP"]
    place = raw["after"].rank(ascending=False)["IMP"]
    return [
        f"Rank correlation with accuracy after retraining: accuracy before it {rank('before', raw.index)} "
        f"({rank('before', others)} without IMP), stability {rank('stability', raw.index)}.",
        f"IMP goes from {100 * imp['before']:.1f} % to {100 * imp['after']:.1f} %, place {place:.0f} of {len(raw)}.",
    ]


def _lengths(table: "pd.DataFrame") -> list[str]:
    table = table[table["what"] != "dense, not pruned"]
    return [
        f"{epochs:g} epochs in all, sparsity {_percent(sparsity)}: {_accuracies(part['what'], part['mean'], '; ')}."
        for (epochs, sparsity), part in table.groupby(["epochs", "sparsity"])
        if epochs in (table["epochs"].min(), table["epochs"].max())
    ]


def _where(table: "pd.DataFrame") -> list[str]:
    sparsities = sorted(table["sparsity"].unique())
    part = table[table["sparsity"] == sparsities[len(sparsities) // 2]]
    fast = ", ".join(f"{a} {s:.1f}" for a, s in zip(part["allocation"], part["theoretical_speedup"]))
    return [
        f"Sparsity {_percent(part['sparsity'].iloc[0])}: {_accuracies(part['allocation'], part['mean'])}.",
        f"Speed-up in theory, times: {fast}.",
    ]


SENTENCES: dict[str, Callable[["pd.DataFrame"], list[str]]] = {
    "fig01_schedules": _schedules,
    "fig02_recovery": _recovery,
    "fig03_budgets": _budgets,
    "fig04_best_lr": _best_lr,
    "fig05_contest": _contest,
    "fig06_split": _split,
    "fig07_stability": _stability,
    "fig08_lengths": _lengths,
    "fig09_where": _where,
}


# ---- the deck --------------------------------------------------------------------------------------------------------


def make(output: str = "", preset: str = "digits", pdf: bool = True) -> list[Path]:
    """Write slides_retraining.html, and with `pdf` slides_retraining.pdf, to `output` (`slides` in the project if empty).

    Returns what was written; where no browser prints, that is the HTML alone, and a sentence says so. Raises BadInput before
    any work for an unknown preset, figures that are not there, and a folder that cannot be written.
    """
    Deck(preset).check()
    folder = Path(output).resolve() if output else project() / "slides"
    make_writable(folder)
    notebook, page = _executed(preset), folder / f"{NAME}.html"
    text = html(notebook)
    write_whole(page, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    made = [page]
    if pdf:
        try:
            made.append(_print(html(notebook, script=False), page.with_suffix(".pdf")))
        except _NoPrint as reason:
            print(NO_PDF.format(why=reason), flush=True)
    for path in made:
        print(f"{path}  ({path.stat().st_size / 2**20:.1f} MiB)", flush=True)
    return made


def _executed(preset: str) -> "NotebookNode":
    try:
        import papermill
    except ImportError as error:
        raise BadInput(
            f"Slides need the notebook stack, which cannot be loaded ({error}): pip install 'retrainlab[lab]'."
        ) from None
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    try:
        notebook = papermill.execute_notebook(
            str(project() / "notebooks" / f"{NAME}.ipynb"),
            None,
            parameters={"preset": preset},
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=600,
            start_timeout=120,
            config=Config(
                {
                    "KernelManager": {"transport_encryption": "auto"},
                    "NotebookClient": {"extra_arguments": ["--log-level=CRITICAL"]},
                }
            ),
        )
    except PapermillExecutionError as error:
        if error.ename == "BadInput":
            raise BadInput(error.evalue) from None
        raise
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _named(cell.source)
        else:  # what libraries print on one machine is nothing for an audience
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return notebook


def html(notebook: "NotebookNode", script: bool = True) -> str:
    """The executed notebook as one HTML text that loads nothing: slides, or without `script` a page a slide to print."""
    from nbconvert import SlidesExporter

    here = Path(__file__).parent
    exporter = SlidesExporter(
        template_file=str(here / "slides.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )

    def vendored(*names: str) -> list[str]:
        return [(here / "vendor" / "reveal" / name).read_text(encoding="utf-8") for name in names]

    files = {"css": vendored("reset.css"), "js": []}
    if script:
        files["css"] += vendored("reveal.css")
        files["js"] += [*map(_inline, vendored("reveal.js", "notes.js")), START]
    text, _ = exporter.from_notebook_node(notebook, resources={"reveal_files": files})
    return text


def _named(markdown: str) -> str:
    """Links to notebooks as their names: the HTML goes where the notebooks do not."""
    return re.sub(r"\[[^]]+\]\(([\w-]+\.ipynb)\)", r"`notebooks/\1`", markdown)


def _inline(script: str) -> str:
    """The script as it may stand in HTML: these strings would change how a parser reads on."""
    return re.sub(r"<(?=!--|/?script)", r"\\x3c", script)


class _NoPrint(Exception):
    """Why there is no PDF."""


def _print(text: str, out: Path) -> Path:
    """Print the HTML `text` as the PDF `out`, which is returned. Raises _NoPrint."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise _NoPrint("no browser that prints is on the path")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # for whom Chromium has no sandbox
    folder = Path(tempfile.mkdtemp(prefix=".slides-", dir=out.parent))  # a confined browser may read no other place
    page, printed = folder / "print.html", folder / "print.pdf"
    options = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--no-pdf-header-footer",
        *(["--no-sandbox"] if root else []),
    ]
    files = [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}", page.as_uri()]
    try:
        page.write_text(text, encoding="utf-8")
        subprocess.run([browser, *options, *files], check=True, capture_output=True, timeout=120)
        os.replace(printed, out)
    except subprocess.CalledProcessError as error:
        raise _NoPrint(f"{browser} ended with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired as error:
        raise _NoPrint(f"{browser} had not printed after {error.timeout:g} s") from None
    except OSError as error:
        raise _NoPrint(f"{error.filename or browser}: {error.strerror}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out
