"""The formulas on one page: sheet.html, which loads nothing, and sheet.pdf, one page of A4."""

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from retrainlab import glossary, references
from retrainlab.figures.printing import NoPrint, to_pdf
from retrainlab.paths import write_text
from retrainlab.teaching.formulas import GROUPS, SYMBOLS, Formula
from retrainlab.teaching.mathml import math

HTML, PDF = "sheet.html", "sheet.pdf"
NO_PDF = (
    "The sheet's PDF was left out: {why}. To get it, install Chromium (on Debian: apt install chromium) and run this again, "
    "or print the HTML from a browser."
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Formulas of retraining after pruning</title>
<style>
:root {{ color-scheme: light dark; --ink: #1b1b1b; --soft: #595959; --accent: #00588c; --line: #d0d0d0; --back: #fff }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8e8e8; --soft: #b0b0b0; --accent: #7cc4f0; --line: #4a4a4a; --back: #161616 }}
}}
body {{ font: 1rem/1.4 "Helvetica Neue", Arial, "Liberation Sans", "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--back); max-width: 62rem; margin: auto; padding: 1rem }}
h1, h2 {{ color: var(--accent); line-height: 1.2 }}
h1 {{ font-size: 1.5rem; margin: 0 0 .3rem }}
h2 {{ font-size: 1.1rem; margin: 0 0 .3rem; padding-top: .6rem }}
p {{ margin: 0 0 .6rem }}
main {{ columns: 2 22rem; column-gap: 1.8rem }}
h2 {{ break-after: avoid }}
.formula {{ border-top: 1px solid var(--line); padding: .35rem 0; break-inside: avoid }}
.formula h3 {{ font-size: .9rem; margin: 0; font-weight: 600 }}
.formula div {{ overflow-x: auto; overflow-y: hidden; padding: .3rem 0 }}
math {{ font-size: 1.15rem }}
.from {{ font-size: .75rem; color: var(--soft); margin: 0; overflow-wrap: anywhere }}
a {{ color: var(--accent) }}
table {{ border-collapse: collapse; font-size: .85rem; width: 100% }}
td {{ border-top: 1px solid var(--line); padding: .2rem .5rem .2rem 0; vertical-align: top }}
td:first-child {{ white-space: nowrap }}
td math {{ font-size: 1rem }}
@page {{ size: A4; margin: 9mm }}
@media print {{
  :root {{ --ink: #000; --soft: #444; --accent: #00588c; --line: #bbb; --back: #fff }}
  body {{ font-size: 8.6pt; line-height: 1.25; padding: 0; max-width: none }}
  h1 {{ font-size: 13pt }} h2 {{ font-size: 10pt; margin: 0 0 2pt; padding-top: 5pt }} p {{ margin: 0 0 3pt }}
  main {{ columns: 2; column-gap: 7mm }}
  section {{ break-inside: avoid }}
  .formula {{ padding: 2.2pt 0 }} .formula h3 {{ font-size: 8.6pt }} .formula div {{ padding: 0; overflow: visible }}
  .from {{ font-size: 6.6pt }} math {{ font-size: 10pt }} td math {{ font-size: 8.6pt }}
  table {{ font-size: 7.8pt }} td {{ padding: 1.2pt 4pt 1.2pt 0 }}
}}
</style></head><body>
<header><h1>Formulas of retraining after pruning</h1>
<p>Each with its source and the line of code that computes it; paths are in the project's folder, and the lines are those of
this version.</p></header>
<main>
{groups}
<section><h2>Symbols</h2><table>
{symbols}
</table></section>
</main>
</body></html>
"""


def html() -> str:
    """The sheet as one HTML text."""
    addresses = references.addresses()
    groups = "\n".join(
        f"<section><h2>{escape(name)}</h2>\n{''.join(_card(f, addresses) for f in formulas)}</section>"
        for name, formulas in GROUPS.items()
    )
    symbols = "\n".join(f"<tr><td>{math(tex)}</td><td>{escape(words)}</td></tr>" for tex, words in SYMBOLS)
    return _PAGE.format(groups=groups, symbols=symbols)


def _card(formula: Formula, addresses: dict[str, str]) -> str:
    return (
        f'<div class="formula"><h3>{escape(formula.name)}</h3><div tabindex="0">{math(formula.tex)}</div>'
        f'<p class="from">{"; ".join(_from(formula, addresses))}</p></div>\n'
    )


def _from(formula: Formula, addresses: dict[str, str]) -> Iterator[str]:
    """Where the formula comes from, and where it is computed."""
    if formula.source:
        yield f'<a href="{escape(addresses[formula.source])}">{escape(glossary.cited(formula.source))}</a>'
    for line in formula.lines:
        yield f"<code>{escape(line.place)}</code>"


def make(folder: Path, pdf: bool = True) -> list[Path]:
    """Write sheet.html, and with `pdf` sheet.pdf, into the folder; returns what was written. Where no browser prints, that
    is the HTML alone, and a sentence says so. Raises BadInput where they cannot be written."""
    text, made = html(), [folder / HTML]
    write_text(made[0], text)
    if pdf:
        try:
            to_pdf(text, folder / PDF)
            made.append(folder / PDF)
        except NoPrint as reason:
            print(NO_PDF.format(why=reason), file=sys.stderr, flush=True)
    return made
