"""`retrainlab site`: every page that stored results and saved figures suffice for, in one folder."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from retrainlab import glossary
from retrainlab.explore.kit import pages
from retrainlab.figures import pages as readme
from retrainlab.paths import command, make_writable, project, write_text, write_whole
from retrainlab.progress import Progress
from retrainlab.site import documents, explorers, figures
from retrainlab.site.explorers import Explorer, Lacking
from retrainlab.site.figures import Figure
from retrainlab.site.frame import Entry, Frame
from retrainlab.study.making import grouped
from retrainlab.study.results import Results

DOCS = {"evidence": "docs/evidence.md", "references": "docs/references.md"}


def make(output: str = "", store: str = "", saved: str = "") -> list[Path]:
    """Write the site to `output` (`site` in the project if empty), from the results in `store` and the folders of figures in
    `saved` (the project's own if empty). Nothing is trained; what is lacking is said, with the command that makes it. Raises
    BadInput before any work for a folder that cannot be written, and for damaged figures."""
    folder, root = Path(output) if output else project() / "site", project()
    make_writable(folder, ["index.html"])
    results, progress = Results.at(store), Progress("site")
    drawn = figures.every(root, Path(saved) if saved else root / "figures")
    found, lacking = explorers.ready(results, lambda share, words: progress(0.9 * share, words))
    texts = _documents(root, Path(saved) if saved else root / "figures")
    entries = [*(e.entry for e in found), *(f.entry for f in drawn), *(entry for entry, _ in texts)]
    frame = Frame(entries)
    out: list[Path] = []
    names = [entry.name for entry in entries]

    def write(name: str, text: str) -> None:
        progress(0.9 + 0.1 * len(out) / (len(names) + 1), name)
        write_text(folder / f"{name}.html", text)
        out.append(folder / f"{name}.html")

    for explorer in found:
        write(explorer.page.name, explorer_page(frame, explorer, found))
    for place, figure in enumerate(drawn):
        beside = {
            "before": drawn[place - 1] if place else None,
            "after": drawn[place + 1] if place + 1 < len(drawn) else None,
        }
        text = documents.rendered(figure.text, names)
        write(figure.name, frame.page("figure.html.j2", figure.name, figure.title, figure=figure, text=text, **beside))
        _copy(figure, Path(saved) if saved else root / "figures", folder)
    for entry, text in texts:
        write(entry.name, frame.page("document.html.j2", entry.name, entry.title, text=documents.rendered(text, names)))
    write("index", index_page(frame, found, drawn, lacking))
    progress(1.0, f"{len(out)} pages")
    progress.close()
    print(f"{folder / 'index.html'}  ({len(out)} pages, {_size(folder) / 2**20:.1f} MiB)")
    for line in said(lacking):
        print(line)
    return out


def explorer_page(frame: Frame, explorer: Explorer, found: Sequence[Explorer]) -> str:
    """The HTML of an explorer's page, with links to the same explorer on other data. found: all that are in the site."""
    alike = [e for e in found if e.stem == explorer.stem]
    return frame.page(
        "explorer.html.j2",
        explorer.page.name,
        explorer.page.title,
        page=explorer.page,
        data=explorer.data,
        computed=explorer.computed,
        scripts=pages.scripts(explorer.page),
        alike=alike if len(alike) > 1 else [],
    )


def index_page(frame: Frame, found: Sequence[Explorer], drawn: Sequence[Figure], lacking: Sequence[Lacking]) -> str:
    """The HTML of the first page."""
    title = "After pruning a neural network, how should it be retrained?"
    cards = list(grouped(found, lambda e: e.stem).values())
    return frame.page(
        "index.html.j2", "index", title, cards=cards, figures=drawn, lacking=[one.words for one in lacking]
    )


def said(lacking: Sequence[Lacking]) -> list[str]:
    """Which pages were left out and how to get them, in lines; none if none was."""
    if not lacking:
        return []
    lines = [f"Left out: {'; '.join(one.words for one in lacking)}."]
    stems = list(dict.fromkeys(one.name for one in lacking if one.runs))
    if stems:
        lines.append(
            f"This trains what they lack, after which the site is made again: {command('export ' + ' '.join(stems))}."
        )
    return lines


def _documents(root: Path, saved: Path) -> list[tuple[Entry, str]]:
    """The pages that are Markdown: entry and text."""
    claims = [path for folder in readme.FOLDERS if (path := saved / folder / "claims.md").is_file()]
    text = "\n\n".join(path.read_text(encoding="utf-8").replace("# ", "## ", 1) for path in claims)
    out = [(Entry("claims", "The claims, and what the data say", "claims", "Words"), text)] if claims else []
    docs = {name: (root / path).read_text(encoding="utf-8") for name, path in DOCS.items() if (root / path).is_file()}
    for name, text in ({"glossary": glossary.page()} | docs).items():
        title, rest = documents.titled(text)
        out.append((Entry(name, title, name, "Words"), rest))
    return out


def _copy(figure: Figure, saved: Path, folder: Path) -> None:
    """Copy the pictures and tables of a figure."""
    for drawn in figure.drawn:
        for end in figures.ENDS:
            source = saved.parent / drawn.file(end)
            if source.is_file():
                write_whole(folder / drawn.file(end), partial(shutil.copyfile, source))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
