"""What the stored figures say of the claims, for a host and for the end of a session. Nothing here is typed by hand."""

from collections.abc import Mapping, Sequence
from html import escape

from retrainlab.checks import BadInput
from retrainlab.figures.blocks import table
from retrainlab.parsing import parsed, read_file
from retrainlab.paths import command, project

HEADS = ["claim", "verdict", "its parts, and how sure they are"]
SESSIONS = {"session 1": ("C1", "C2", "C4"), "session 2": ("C3", "C5", "C6", "C7")}
"""The claims that each session asks about."""
FOLDERS = {"digits": "digits", "cifar10": "CIFAR-10"}  # of figures/, those that a session shows


def rows(claims: Sequence[Mapping], names: Sequence[str]) -> list[list[str]]:
    """Of each claim that is named and was tested, what HEADS say. claims: as `retrainlab claims` has written them."""
    known = {claim["name"]: claim for claim in claims if claim.get("parts")}
    return [
        [f"{name}. {known[name]['statement']}", known[name]["verdict"], "; ".join(map(_part, known[name]["parts"]))]
        for name in names
        if name in known
    ]


def _part(part: Mapping) -> str:
    """`holds: LLR ... (+0.28 points, 95 % interval +0.10 to +0.46, 10 seeds)`; of an open one what could be found."""
    if part["mean"] is None:
        return f"{part['state']}: {part['says']} (no runs)"
    said = f"{part['mean']:+.2f} {part['unit']}"
    if part["side"] != "exactly" and part["low"] is not None:
        said += f", 95 % interval {part['low']:+.2f} to {part['high']:+.2f}"
    said += f", {part['n']} seeds"
    if part["state"] == "open" and part["smallest"] is not None:
        said += f", where {part['smallest']:.2f} away from {part['boundary']:g} would be found in 80 % of studies"
    return f"{part['state']}: {part['says']} ({said})"


def block(told: Mapping[str, Sequence[Mapping]], names: Sequence[str], _old: str) -> str:
    """A table for each data set that has these claims, as a block of a page. told: claims by the data set's name."""
    found = {data: own for data, claims in told.items() if (own := rows(claims, names))}
    return "\n".join(f"On {data}:\n\n{table(HEADS, own)}" for data, own in found.items())


class Told:
    """The claims of these names as a notebook shows them, from the figures that lie in the project."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)

    def _repr_html_(self) -> str:
        figures, out = project() / "figures", []
        for folder, data in FOLDERS.items():
            path = figures / folder / "claims.json"
            if not path.is_file() and folder != "digits":
                continue
            try:
                found = rows(parsed(read_file(path))["claims"], self.names)
            except (OSError, ValueError, LookupError, TypeError):
                raise BadInput(f"{path} is not there or damaged; make it with {command('claims')}.") from None
            out.append(_html(data, found))
        return "\n".join(out)


def _html(data: str, found: list[list[str]]) -> str:
    left = 'style="text-align: left; vertical-align: top"'
    heads = "".join(f'<th scope="col" {left}>{head}</th>' for head in HEADS)
    told = ([*map(escape, row[:-1]), ";<br>".join(map(escape, row[-1].split("; ")))] for row in found)
    cells = ("".join(f"<td {left}>{cell}</td>" for cell in row) for row in told)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><caption>On {data}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
