"""`retrainlab export`: every explorer as one HTML file for readers without a kernel, made from stored results."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from retrainlab.errors import choose
from retrainlab.paths import in_project, make_writable, project, write_whole
from retrainlab.settle import listed

PAGES = ("schedules", "race", "predict", "draw", "budget", "allr", "methods")
_MODULES = {"schedules": "curves"}  # of retrainlab.explore, where its name is another


def make(
    names: Sequence[str] = (), *, output: str = "", store: str = "", jobs: int = 0, device: str = "auto"
) -> list[Path]:
    """Write NAME.html for each of PAGES, or those named, to `output` (`pages` in the project, or here, if empty). What is
    not in the store yet is computed first, with progress; Ctrl-C keeps what is finished. Raises BadInput before any work
    for an unknown name or a folder that cannot be written."""
    names = listed(names, str, "export's names")
    for name in names:
        choose(name, PAGES, "page")
    folder = Path(output) if output else (project() if in_project() else Path.cwd()) / "pages"
    make_writable(folder)
    from retrainlab import study
    from retrainlab.explore import pages
    from retrainlab.progress import Progress

    place, out = study.opened(store or None), []
    made = {n: import_module(f"retrainlab.explore.{_MODULES.get(n, n)}").page(place) for n in names or PAGES}
    needs = list(dict.fromkeys(e for page in made.values() for e in page.needs))
    if needs:
        study.run_study(needs, store=place, jobs=jobs, device=device, progress=Progress("export"))
    for name, page in made.items():
        path = folder / f"{name}.html"
        text = pages.html(page)
        write_whole(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
        print(f"{path}  ({len(text) / 2**20:.1f} MiB)", flush=True)
        out.append(path)
    return out
