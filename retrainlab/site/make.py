"""`retrainlab site`: every page that stored results and saved figures suffice for, in one folder."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from retrainlab import glossary
from retrainlab.device import resolve
from retrainlab.explore.kit import costs
from retrainlab.explore.kit import pages as kit
from retrainlab.figures import pages as readme
from retrainlab.paths import command, make_writable, project, write_text, write_whole
from retrainlab.progress import Progress
from retrainlab.site import documents, explorers, figures, sessions
from retrainlab.site.documents import Document
from retrainlab.site.explorers import Explorer, Lacking
from retrainlab.site.figures import Figure
from retrainlab.site.frame import Entry, Frame
from retrainlab.study.making import grouped
from retrainlab.study.results import Results

DOCS = {name: f"docs/{name}.md" for name in ("evidence", "trust", "methods", "references")}
MARK = '<meta name="generator" content="retrainlab site">'  # of every page, so that those of an earlier site are known


def make(output: str = "", store: str = "", saved: str = "", taught: str = "") -> list[Path]:
    """Write the site to `output` (`site` in the project if empty), from the results in `store`, the folders of figures in
    `saved` and what `retrainlab teach` has written to `taught` (the project's own if empty). Nothing is trained; what is
    lacking is said, with the command that makes it. Raises BadInput before any work for a folder that cannot be written,
    and for damaged figures, claims or sessions."""
    root = project()
    folder, figured = Path(output) if output else root / "site", Path(saved) if saved else root / "figures"
    make_writable(folder, ["index.html"])
    results, progress = Results.at(store), Progress("site")
    drawn = figures.every(root, figured)
    texts = [*sessions.every(Path(taught) if taught else root / "teach" / "participants"), *_documents(root, figured)]
    found, lacking = explorers.ready(results, lambda share, words: progress(0.9 * share, words))
    frame = Frame([*(e.entry for e in found), *(f.entry for f in drawn), *(t.entry for t in texts)])
    pages: dict[str, Callable[[], str]] = {e.page.name: partial(explorer_page, frame, e, found) for e in found}
    pages |= {f.name: partial(figure_page, frame, f, drawn) for f in drawn}
    pages |= {t.entry.name: partial(document_page, frame, t) for t in texts}
    pages["index"] = partial(index_page, frame, found, drawn, lacking)
    for place, (name, text) in enumerate(pages.items()):
        progress(0.9 + 0.1 * place / len(pages), name)
        write_text(folder / f"{name}.html", text())
    for figure in drawn:
        _copy(figure, figured, folder)
    _remove_old(folder, pages)
    progress(1.0, f"{len(pages)} pages")
    progress.close()
    print(f"{folder / 'index.html'}  ({len(pages)} pages, {_size(folder) / 2**20:.1f} MiB)")
    print("".join(f"{line}\n" for line in said(lacking)), end="")
    return [folder / f"{name}.html" for name in pages]


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
        scripts=kit.scripts(explorer.page),
        alike=alike if len(alike) > 1 else [],
    )


def figure_page(frame: Frame, figure: Figure, drawn: Sequence[Figure]) -> str:
    """The HTML of a figure's page, with links to those before and after it. drawn: all that are in the site."""
    at = drawn.index(figure)
    before, after = (drawn[at - 1] if at else None), (drawn[at + 1] if at + 1 < len(drawn) else None)
    more = {"figure": figure, "text": documents.rendered(figure.text, frame.names), "before": before, "after": after}
    more["claims"] = "claims" in frame.names  # they may have been made without their page
    return frame.page("figure.html.j2", figure.name, figure.title, **more)


def document_page(frame: Frame, document: Document) -> str:
    """The HTML of a page of words."""
    entry = document.entry
    return frame.page("document.html.j2", entry.name, entry.title, text=document.html(frame.names))


def index_page(frame: Frame, found: Sequence[Explorer], drawn: Sequence[Figure], lacking: Sequence[Lacking]) -> str:
    """The HTML of the first page."""
    title = "After pruning a neural network, how should it be retrained?"
    cards = list(grouped(found, lambda e: e.stem).values())
    more = {"cards": cards, "figures": drawn, "lacking": [one.words for one in lacking]}
    return frame.page("index.html.j2", "index", title, references="references" in frame.names, **more)


def said(lacking: Sequence[Lacking]) -> list[str]:
    """Which pages were left out, how to get them, and about how long that takes here, in lines; none if none was."""
    if not lacking:
        return []
    lines = [f"Left out: {'; '.join(one.words for one in lacking)}."]
    if names := [one.name for one in lacking if one.missing]:
        wanted = list(dict.fromkeys(noun for one in lacking for e in one.missing for noun in (e.recipe, e)))
        again = (
            f"This trains what they lack, after which the site is made again: {command('export ' + ' '.join(names))}."
        )
        lines.append(f"{again} {costs.words(wanted, resolve(), [])}")
    return lines


def _documents(root: Path, saved: Path) -> list[Document]:
    """Claims, glossary, and what else there is of DOCS. saved: the folder of the folders of figures."""
    claims = [path for folder in readme.FOLDERS if (path := saved / folder / "claims.md").is_file()]
    texts = {"glossary": glossary.page()}
    if claims:  # each with a heading of its own below the page's
        below = (path.read_text(encoding="utf-8").replace("# ", "## ", 1) for path in claims)
        texts = {"claims": "\n\n".join(["# The claims, and what the data say", *below])} | texts
    texts |= {name: (root / path).read_text(encoding="utf-8") for name, path in DOCS.items() if (root / path).is_file()}
    titled = {name: documents.titled(text) for name, text in texts.items()}
    return [
        Document(Entry(name, title, name, "Words"), partial(documents.rendered, rest, own=name != "claims"))
        for name, (title, rest) in titled.items()
    ]


def _copy(figure: Figure, saved: Path, folder: Path) -> None:
    """Copy the pictures and tables of a figure."""
    for drawn in figure.drawn:
        for end in figures.ENDS:
            source = saved.parent / drawn.file(end)
            if source.is_file():
                write_whole(folder / drawn.file(end), partial(shutil.copyfile, source))


def _remove_old(folder: Path, pages: Iterable[str]) -> None:
    """Remove the pages of an earlier site that this one does not have."""
    for path in folder.glob("*.html"):
        if path.stem not in set(pages) and MARK in path.read_text(encoding="utf-8", errors="replace")[:500]:
            path.unlink()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
