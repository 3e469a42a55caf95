"""`retrainlab export`: every explorer but `own` as one HTML file for readers without a kernel, made from what is stored."""

from collections.abc import Sequence
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.checks import WorkerDied, choose, listed
from retrainlab.paths import in_project, make_writable, project, write_text

if TYPE_CHECKING:
    from retrainlab.explore.kit.pages import Page
    from retrainlab.study.results import Results

STORED = ("cifar10",)  # data sets that have pages, too, of what is stored of them: nothing is trained for these
PAGES = ("start", "schedules", "race", "predict", "draw", "budget", "allr", "compare")


def make(
    names: Sequence[str] = (), *, output: str = "", store: str = "", jobs: int = 0, device: str = "auto"
) -> list[Path]:
    """Write NAME.html for each of PAGES, or those named, to `output` (`pages` in the project, or here, if empty), and
    NAME_DATA.html of what is stored of each data set in STORED. What the former lack is computed first, with progress;
    Ctrl-C keeps what is finished. Raises BadInput before any work for an unknown name or a folder that cannot be written,
    and WorkerDied if some runs failed, when the pages that need none of them are written."""
    names = listed(names, str, "export's names")
    for name in names:
        choose(name, PAGES, "page")
    folder = Path(output) if output else (project() if in_project() else Path.cwd()) / "pages"
    make_writable(folder, [f"{name}.html" for name in names or PAGES])
    from retrainlab import study
    from retrainlab.explore.kit import pages
    from retrainlab.progress import Progress

    results, out, died = study.Results.at(store), [], None
    made = every(names or PAGES, results)
    make_writable(folder, [f"{name}.html" for name in made])
    needs = list(dict.fromkeys(e for page in made.values() for e in page.needs))
    if needs:
        try:
            study.run_study(needs, store=results, jobs=jobs, device=device, progress=Progress("export"))
        except WorkerDied as error:
            died = error
    for name, page in made.items():
        path = folder / f"{name}.html"
        if died is not None and None in map(results.of, page.needs):
            continue
        text = pages.html(page, results)
        write_text(path, text)
        print(f"{path}  ({len(text) / 2**20:.1f} MiB)", flush=True)
        out.append(path)
    if died is not None:
        raise WorkerDied(f"{died} {len(out)} of {len(made)} pages are written.")
    return out


def every(names: Sequence[str], results: "Results") -> dict[str, "Page"]:
    """The pages of those names, and of what is stored of each data set in STORED, by their names; nothing is made yet."""
    from retrainlab.explore.views import stored

    made = {n: import_module(f"retrainlab.explore.views.{n}").page(results) for n in names}
    for data, name in product(STORED, [name for name in made if name in stored.PAGES]):
        if (page := stored.PAGES[name](results, data)) is not None:
            made[page.name] = page
    return made
