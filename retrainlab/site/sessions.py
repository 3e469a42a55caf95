"""What `retrainlab teach` has written for participants, as pages: the sessions to read along, and the sheet of formulas."""

import json
import re
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path

from retrainlab.checks import BadInput
from retrainlab.paths import command
from retrainlab.site import documents
from retrainlab.site.documents import Document
from retrainlab.site.frame import Entry
from retrainlab.teaching.mathml import math

READ = (
    "This session runs in JupyterLab. Here it can be read along; much of what it shows is in the explorers and figures of "
    "these pages, too."
)


def every(folder: Path) -> list[Document]:
    """The sessions and the sheet in the folder; none where it is not there. Raises BadInput for a damaged notebook."""
    found = []
    for path in sorted(folder.glob("session_*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
            title, rest = documents.titled(texts[0][1])
        except (LookupError, ValueError, TypeError):
            raise BadInput(f"{path} is no notebook; make it again: {command('teach')}, or remove it.") from None
        entry = Entry(path.stem, title, path.stem.replace("_", " "), "Sessions")
        found.append(Document(entry, partial(session, [("markdown", rest), *texts[1:]])))
    sheet = folder / "sheet.html"
    if sheet.is_file() and (inner := re.search(r"<main>(.*?)</main>", sheet.read_text(encoding="utf-8"), re.S)):
        made = f'<div class="sheet">{inner[1]}</div>'
        found.append(Document(Entry("sheet", "The formulas", "formulas", "Sessions"), lambda names: made))
    return found


def session(cells: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    """The HTML of a notebook that is not run. cells: pairs of kind and text; names: of the site's pages, for links."""
    out = [f"<p><i>{escape(READ)}</i></p>"]
    for kind, text in cells:
        if kind == "markdown":
            for place, piece in enumerate(re.split(r"\$\$(.+?)\$\$", text)):  # texts, and the formulas between them
                out.append(f"<p>{math(piece)}</p>" if place % 2 else documents.rendered(piece, names))
        elif text.strip():
            code = f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
            out.append(f"<details><summary>Code</summary>{code}</details>")
    return "\n".join(out)
