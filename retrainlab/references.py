"""The works that the project names, as docs/references.md has them."""

import re

from retrainlab.paths import project

_ENTRY = re.compile(r'^- <a id="([\w-]+)"></a>.*?\]\(([^)]+)\)', re.M | re.S)


def addresses() -> dict[str, str]:
    """The address of each work, by its anchor, such as zimmer-2023. Raises BadInput without the project's folder."""
    return dict(_ENTRY.findall((project() / "docs" / "references.md").read_text(encoding="utf-8")))
