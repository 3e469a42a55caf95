"""Run the figure notebooks through papermill: notebooks/figNN_*.ipynb -> figures/PRESET/.

The notebooks stay as they are; what they print while they compute is shown live, their figures are the output.
"""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retrainlab.config import ENGINES, PRECISIONS
from retrainlab.errors import BadInput, choose
from retrainlab.paths import lend_places, make_writable, project
from retrainlab.presets import PRESETS
from retrainlab.progress import CalmLines, duration
from retrainlab.settle import listed, settled

CELL_TIMEOUT = 30 * 24 * 3600  # seconds; a preset for a GPU may train for days in one cell


def available() -> dict[str, Path]:
    """Figure notebooks by name, in order: fig01_schedules, ..."""
    return {path.stem: path for path in sorted((project() / "notebooks").glob("fig*.ipynb"))}


def select(names: Sequence[str]) -> list[str]:
    """Full names for what the user called `fig03` or `fig03_budgets`; all of them for nothing."""
    known, names = available(), listed(names, str, "figures' names")
    if not names:
        return list(known)
    short = {full.split("_")[0]: full for full in known}
    return [short.get(name) or choose(name, known, "figure") for name in names]


def make(
    names: Sequence[str] = (),
    *,
    preset: str = "digits",
    jobs: int = 0,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "float32",
    fresh: bool = False,
    store: str = "",
    output: str = "",
) -> list[Path]:
    """Run the notebooks of `names` (all if none) one after the other into `output` (figures/PRESET if empty).

    Returns the PNGs. Raises BadInput before any runs, or when a notebook says so, and KeyboardInterrupt on Ctrl-C.
    """
    choose(preset, PRESETS, "preset")
    choose(engine, ENGINES, "engine")
    choose(precision, PRECISIONS, "precision")
    chosen = select(names)
    try:
        import papermill
    except ImportError:
        raise BadInput(
            "Figures need the notebook stack, which is not installed: pip install 'retrainlab[lab]'."
        ) from None
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    root, notebooks = project(), available()
    folder = Path(output).resolve() if output else root / "figures" / preset
    parameters = {
        "preset": preset,
        "jobs": jobs,
        "device": device,
        "engine": engine,
        "precision": precision,
        "fresh": settled(fresh, bool, "figures' fresh"),
        "store": settled(store, str, "figures' store"),
        "output": str(folder),
    }
    for name in chosen:
        unknown = set(parameters) - set(papermill.inspect_notebook(str(notebooks[name])))
        if unknown:
            raise BadInput(f"The notebook {name} has no parameter {', '.join(sorted(unknown))}; restore it from git.")
    make_writable(folder)
    lend_places()
    shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
    begin = time.monotonic()
    for number, name in enumerate(chosen, 1):
        start = time.monotonic()
        print(f"[{number}/{len(chosen)}] {name}", file=sys.stderr, flush=True)
        try:
            papermill.execute_notebook(
                str(notebooks[name]),
                None,
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=CalmLines(sys.stderr),
                execution_timeout=CELL_TIMEOUT,
                config=Config(
                    {
                        "KernelManager": {"transport_encryption": "auto"},
                        # a kernel that is stopped may find its sockets closed, and would print a trace
                        "NotebookClient": {"extra_arguments": ["--log-level=CRITICAL"]},
                    }
                ),
                start_timeout=120,
            )
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(
                logging.CRITICAL
            )  # it would print the interrupted cell's trace at exit
            raise
        except PapermillExecutionError as error:
            if error.ename == "Stopped":
                raise KeyboardInterrupt(error.evalue) from None
            if error.ename == "BadInput":
                raise BadInput(error.evalue) from None
            raise
        except CellTimeoutError:
            raise BadInput(
                f"A cell of {name} ran for more than {duration(CELL_TIMEOUT)}; the same command goes on from there."
            ) from None
        print(f"      {shown}/{name}.png  ({duration(time.monotonic() - start)})", flush=True)
    print(f"{len(chosen)} figures in {shown}/, {duration(time.monotonic() - begin)}.")
    return [folder / f"{name}.png" for name in chosen]
