"""`retrainlab teach`: the sessions of `teach/` as participants get them, without solutions, and the sheet of formulas.

A cell tagged `solution` is left out. What is left runs as it is: an exercise that has no answer says what is wanted.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput
from retrainlab.figures.notebooks import papermill
from retrainlab.paths import make_writable, project, write_text
from retrainlab.teaching import sheet

if TYPE_CHECKING:
    from nbformat import NotebookNode

NAMES = ("session_1", "session_2")
SOLUTION = "solution"
_LINK = re.compile(r"\]\((?!\w+:|#)([^)]+)\)")


def make(output: str = "", pdf: bool = True) -> list[Path]:
    """Write session_1.ipynb and session_2.ipynb without solutions, sheet.html, and with `pdf` sheet.pdf, to `output`
    (`teach/participants` in the project if empty); what was there is replaced. Returns what was written; where no browser
    prints, a sentence says so. Raises BadInput before any work if the folder cannot be written or holds the sessions."""
    papermill()
    host = project() / "teach"
    folder = Path(output).resolve() if output else host / "participants"
    if folder == host.resolve():
        raise BadInput(f"{folder} holds the sessions with their solutions; give another folder as --output.")
    names = [f"{name}.ipynb" for name in NAMES]
    make_writable(folder, [*names, sheet.HTML, *([sheet.PDF] if pdf else [])])
    import nbformat

    made = []
    for name in names:
        notebook = participants(nbformat.read(host / name, as_version=4), os.path.relpath(host, folder))
        write_text(folder / name, nbformat.writes(notebook) + "\n")
        made.append(folder / name)
    made += sheet.make(folder, pdf)
    for path in made:
        print(path, flush=True)
    return made


def participants(notebook: "NotebookNode", back: str) -> "NotebookNode":
    """A copy without solutions and outputs. back: the way from the copy's folder to the sessions', by which links to files
    are kept right."""
    from copy import deepcopy

    copy = deepcopy(notebook)
    copy.cells = [cell for cell in copy.cells if SOLUTION not in cell.metadata.get("tags", [])]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(
                lambda match: f"]({Path(os.path.normpath(f'{back}/{match[1]}')).as_posix()})", cell.source
            )
        else:
            cell.outputs, cell.execution_count = [], None
    return copy
