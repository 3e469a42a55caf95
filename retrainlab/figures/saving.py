"""How a figure is saved with its data, its words and where it comes from."""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.figures import presets, provenance
from retrainlab.figures.presets import Preset
from retrainlab.figures.sentences import Words
from retrainlab.figures.style import RC
from retrainlab.paths import write_whole


@dataclass(frozen=True)
class Picture:
    """A saved figure as a notebook shows it: an image with its alternative text and a caption."""

    png: bytes
    alt: str
    caption: str

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.png).decode()
        return (
            f'<figure><img alt="{html.escape(self.alt)}" style="max-width: 100%; background: white" '
            f'src="data:image/png;base64,{source}"><figcaption>{html.escape(self.caption)}</figcaption></figure>'
        )


def png(figure: Figure, dpi: int = 100, metadata: dict | None = None) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return out.getvalue()


REACHED = ("_accuracy", "_loss")
"""The ends of the names of what a run has reached, of all that is measured of it."""
NAMED = {"seed", "epochs", "sparsity", "budget"}
"""Settings that are told of a run even where all runs share them: a claim asks for short budgets, not for different ones."""


def runs(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each run of a study: what is NAMED, what tells it from the others, and what it reached.

    results: a study's rows, with the columns of `study.rows` in their order: all settings, then what was measured from
    test_accuracy on to the key. Columns that a notebook has put behind these are of the figure, and stay even where they are
    the same for all runs.
    """
    columns = list(results)
    settings, own = columns[: columns.index("test_accuracy")], columns[columns.index("key") + 1 :]
    apart = [name for name in settings if name in NAMED or results[name].nunique(dropna=False) > 1]
    return results[[*apart, *own, *(name for name in columns if name.endswith(REACHED))]]


@dataclass(frozen=True)
class Searched:
    """A study's rows that a figure shows, and those of every run by which they were found."""

    shown: pd.DataFrame
    every: pd.DataFrame


@dataclass(frozen=True)
class Read:
    """What a figure was made from that reads other figures' runs: the names of these figures, also of those that are not
    there, and rows to save as its own runs. written: names of further files that its notebook wrote beside it."""

    figures: Sequence[str]
    rows: pd.DataFrame
    written: Sequence[str] = ()


def save(
    figure: Figure,
    data: pd.DataFrame,
    said: Words,
    caption: str,
    *,
    settings: Preset,
    results: pd.DataFrame | Searched | Read,
) -> Picture:
    """Write a figure as NAME.png and .svg, its numbers as .csv, its runs as .runs.csv (see `runs`), and caption, alternative
    text and provenance as .json.

    They go to `presets.folder`, with a word if the settings are not the preset's own. The same figure and data give the
    same bytes. said: has the NAME and the alternative text. results: the study's rows; their keys and devices are the
    provenance, and what of their networks is not pruned ends the caption, as does that they come from several devices.
    Of a search the keys and the training steps are those of every run; of other figures they are all of theirs.
    """
    folder, own = presets.folder(settings), presets.changed(settings)
    if isinstance(results, Read):
        rows, origin = results.rows, _of_figures(folder, results.figures) | {"written": list(results.written)}
    else:
        shown, every = (results.shown, results.every) if isinstance(results, Searched) else (results, results)
        rows, origin = runs(shown), _of_runs(shown, every)
        notes = dict.fromkeys([*shown.get("not_pruned", ()), stats.mixed(shown)])
        caption = " ".join([caption, *filter(None, notes)])
    if own and not settings.output:
        print(
            f"Not the preset's own {', '.join(own)}: the figure goes to {folder}, "
            f"and figures/{settings.name} stays as it is."
        )
    words = {"Title": caption, "Description": said.alt}
    image = png(figure, 160, words)
    vector = BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None, **words})
    about = {
        "caption": caption,
        "alt": said.alt,
        "preset": settings.name,
        "parameters": own,
        "versions": provenance.versions(),
        **origin,
    }
    files = {
        "png": image,
        "svg": vector.getvalue(),
        "csv": stats.to_csv(data).encode("utf-8", "backslashreplace"),
        "runs.csv": stats.to_csv(rows).encode("utf-8", "backslashreplace"),
        "json": (json.dumps(about, indent=1) + "\n").encode(),
    }
    for end, content in files.items():
        write_whole(folder / f"{said.figure}.{end}", partial(Path.write_bytes, data=content))
    return Picture(image, said.alt, caption)


def _of_runs(shown: pd.DataFrame, every: pd.DataFrame) -> dict[str, Any]:
    """Where a study's rows come from, as NAME.json tells it."""
    keys = sorted(set(every["key"]))
    return {"devices": sorted(set(shown["device"])), "steps": provenance.steps(every), "results": keys}


def _of_figures(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """The same of figures in a folder, taken together; and which of their files were read, or looked for."""
    each = [provenance.described(folder, name) for name in names]
    found = {
        field: sorted({x for one in each for x in provenance.texts(one, field)}) for field in ("devices", "results")
    }
    return found | {"steps": {}, "read": [f"{name}.{end}" for name in names for end in ("runs.csv", "json")]}
