"""Verdicts as a table, as lines, as a page, and as files beside the figures."""

import html
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims.rule import ALPHA, FAILS, HOLDS, MARGIN, NOT_TESTED, OPEN, POWER, ROUNDING, Judged
from retrainlab.claims.table import COLUMNS, Verdict, read, verdicts
from retrainlab.figures.blocks import safe
from retrainlab.figures.presets import Preset
from retrainlab.figures.provenance import described, number
from retrainlab.paths import write_whole
from retrainlab.phrases import listed

ENDS = ("md", "csv", "html", "json")
FILES = tuple(f"claims.{end}" for end in ENDS)
OF_PART = ("says", "figure", "boundary", "side", "unit")
OF_JUDGED = ("mean", "low", "high", "n", "p", "smallest", "state")
RULE = (
    f"A part holds or fails if a two-sided t-test of the seeds' values against its boundary says so, after Holm's "
    f"correction for all tests of the table (at most {100 * ALPHA:g} % of tables say anything where nothing is true); else "
    f"it is open. Supported: all parts hold. Contradicted: one fails. At least as good: not worse by {MARGIN:g} points. The "
    f"smallest difference is the distance from the boundary that so many seeds with such a spread find in "
    f"{100 * POWER:g} % of studies. Intervals have 95 % each, uncorrected. That two runs are one is seen, not tested: "
    f"their test losses lie at most {ROUNDING:g} nats apart."
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; margin: auto; padding: 1rem }}
div {{ overflow-x: auto }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8888 }}
</style></head><body>
{body}
</body></html>
"""


def frame(found: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each part, with what `rule.Part` and `rule.Judged` say; one without numbers for a claim that has none."""
    rows = []
    for v in found:
        head = {"claim": v.claim.name, "verdict": v.verdict}
        rows += [head | _row(judged) for judged in v.parts] or [head]
    return pd.DataFrame(rows).reindex(columns=["claim", "verdict", *OF_PART, *OF_JUDGED])


def _row(judged: Judged) -> dict:
    return {name: getattr(judged.part, name) for name in OF_PART} | {n: getattr(judged, n) for n in OF_JUDGED}


def values(found: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each value that a part was tested with, one of each seed: claim, says, value."""
    rows = [(v.claim.name, j.part.says, value) for v in found for j in v.parts for value in j.part.values]
    return pd.DataFrame(rows, columns=["claim", "says", "value"])


def lines(found: Sequence[Verdict]) -> list[str]:
    """A line for each claim: `C1  supported     5 of 5 parts hold`."""
    return [f"{v.claim.name}  {v.verdict:<12}  {_why(v)}" for v in found]


def _why(v: Verdict) -> str:
    if v.missing:
        return f"no runs of {listed([_short(name) for name in v.missing])}"
    states = [judged.state for judged in v.parts]
    if v.verdict == NOT_TESTED:
        return "its figures have no runs of the kind"
    many = {HOLDS: "hold", FAILS: "fail", OPEN: "are open"}
    one = {HOLDS: HOLDS, FAILS: FAILS, OPEN: "is open"}
    counts = {state: states.count(state) for state in many if state in states}
    counted = [f"{n} {one[state] if n == 1 else many[state]}" for state, n in counts.items()]
    return f"of {len(states)} parts {listed(counted)}"


def _short(figure: str) -> str:
    """`figure 3` for fig03_budgets."""
    return f"figure {number(figure)}"


def page(found: Sequence[Verdict], title: str) -> str:
    """All as Markdown, with links to the pictures beside it."""
    out = [
        f"# {safe(title)}",
        "",
        RULE,
        "",
        "| | claim | from | verdict | what would count against it |",
        "|---|---|---|---|---|",
    ]
    for v in found:
        c, shown = v.claim, v.verdict if v.verdict == NOT_TESTED else f"**{v.verdict}**"
        out.append(f"| {c.name} | {c.statement} | {c.source} | {shown}: {_why(v)} | {c.against} |")
    heads = (
        "claim",
        "part",
        "mean [95 % interval]",
        "boundary",
        "seeds",
        "p",
        "smallest difference",
        "state",
        "figure",
    )
    out += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for v in found:
        out += [f"| {' | '.join([v.claim.name, *_cells(judged)])} |" for judged in v.parts]
    return "\n".join(out) + "\n"


def _cells(judged: Judged) -> tuple[str, ...]:
    part = judged.part
    exactly = part.side == "exactly"
    span = f" [{judged.low:+.2f}, {judged.high:+.2f}]" if math.isfinite(judged.low) and not exactly else ""
    mean = f"{judged.mean:+.2f}{span} {part.unit}" if judged.n else "no runs"
    p = "" if math.isnan(judged.p) else "< 0.001" if judged.p < 0.001 else f"{judged.p:.3f}"
    smallest = "" if math.isnan(judged.smallest) else f"{judged.smallest:.2f}"
    link = f"[{_short(part.figure)}]({part.figure}.png)"
    return part.says, mean, f"{part.side} {part.boundary:g}", str(judged.n), p, smallest, judged.state, link


def make(settings: Preset, folder: Path) -> list[Verdict]:
    """`judged`, written beside the figures."""
    found = judged(settings, folder)
    write(found, folder, f"What {settings.recipe.data} says of the claims")
    return found


def judged(settings: Preset, folder: Path) -> list[Verdict]:
    """The verdicts from the runs in a folder of figures.

    settings: those that the figures were made with. Raises BadInput where there are no runs, or those of another preset.
    """
    if not (runs := read(folder)):
        raise BadInput(
            f"There is nothing to judge in {folder}, which has no runs of {listed([_short(name) for name in COLUMNS])}; "
            f"run make figures PRESET={settings.name} first."
        )
    for name in runs:
        if (preset := described(folder, name).get("preset", settings.name)) != settings.name:
            raise BadInput(
                f"{name} in {folder} is of preset {preset}, not {settings.name}; give the one that it is of."
            )
    return verdicts(runs, settings)


def write(found: Sequence[Verdict], folder: Path, title: str) -> list[Path]:
    """Write claims.md, .csv, .html and .json into the folder; the same verdicts give the same bytes. Raises BadInput where
    they cannot be written."""
    text, table = page(found, title), frame(found)
    contents = dict(zip(ENDS, (text, stats.to_csv(table), _html(text, title), _json(found))))
    paths = {end: folder / name for end, name in zip(ENDS, FILES)}
    try:
        for end, content in contents.items():
            write_whole(paths[end], partial(Path.write_text, data=content, encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"The claims cannot be written to {folder} ({error.strerror}); copy its figures to a folder where they can, and "
            "name that."
        ) from None
    return list(paths.values())


def _html(text: str, title: str) -> str:
    from nbconvert.filters.markdown_mistune import markdown2html_mistune  # half a second to load

    body = (
        markdown2html_mistune(text)
        .replace("<table>", '<div tabindex="0"><table>')
        .replace("</table>", "</table></div>")
    )
    return _PAGE.format(title=html.escape(title), body=body)


def _json(found: Sequence[Verdict]) -> str:
    def finite(x: object) -> object:
        return None if isinstance(x, float) and not math.isfinite(x) else x

    record = {
        "rule": RULE,
        "claims": [
            {
                "name": v.claim.name,
                "statement": v.claim.statement,
                "source": v.claim.source,
                "against": v.claim.against,
                "verdict": v.verdict,
                "missing": list(v.missing),
                "parts": [
                    {k: finite(x) for k, x in _row(j).items()} | {"values": list(j.part.values)} for j in v.parts
                ],
            }
            for v in found
        ],
    }
    return json.dumps(record, indent=1) + "\n"
