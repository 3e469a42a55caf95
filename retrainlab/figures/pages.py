"""`retrainlab words`: what the README, docs/trust.md and teach/host.md say of results, made from the figures that lie in the
project; and the glossary.

Each page has blocks between two lines that a reader does not see. Of a block's table the rows and questions are typed, and
only what follows them is made. A block whose figures are not there has nothing to say.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO

from retrainlab import glossary
from retrainlab.checks import BadInput
from retrainlab.figures.blocks import Read, filled, on_disk, safe, table, write
from retrainlab.figures.provenance import digest
from retrainlab.figures.provenance import number as number_of
from retrainlab.figures.sentences import FIGURES, Words, words
from retrainlab.parsing import parsed
from retrainlab.paths import command
from retrainlab.phrases import listed
from retrainlab.stats import read_saved
from retrainlab.teaching import answers, times

README, TRUST, HOST, GLOSSARY = "README.md", "docs/trust.md", "teach/host.md", "docs/glossary.md"
FOLDERS = {"digits": "digits", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}  # of figures/, those in git
PICTURE, PICTURED = "fig03_budgets", ("cifar10", "digits")  # from the first of these folders that has it


@dataclass(frozen=True)
class Shown:
    """A saved figure: its name, its words, how many seeds its table tells of (0: it does not say), and its NAME.json."""

    name: str
    words: Words
    seeds: int
    about: dict

    @property
    def number(self) -> int:
        return number_of(self.name)


def make() -> None:
    """Write the glossary and the other pages' blocks. Raises BadInput where a page lacks one or a figure is damaged."""
    from retrainlab.figures import evidence  # which loads torch

    made = pages(on_disk)
    write(made | evidence.pages(lambda path: made.get(path) or on_disk(path)))


def pages(read: Read) -> dict[str, str]:
    """The pages by their paths, with blocks that say what the figures say now."""
    digits = {one.name: one for one in shown(read, "digits")}
    claims = {folder: _claims(read, folder) for folder in FOLDERS}
    told = {FOLDERS[folder]: own for folder, own in claims.items() if own}
    blocks: dict[str, Mapping[str, Callable[[str], str]]] = {
        README: {
            "schedules": lambda old: glossary.schedules(),
            "picture": lambda old: picture(read),
            "findings": lambda old: findings(old, digits),
            "claims": lambda old: verdicts(old, claims),
        },
        TRUST: {"results": lambda old: "\n".join(_results(read))},
        HOST: {name: partial(answers.block, told, own) for name, own in answers.SESSIONS.items()}
        | {"times": lambda old: times.block(read(times.FILE))},
    }
    return {path: filled(path, read(path), own) for path, own in blocks.items()} | {GLOSSARY: glossary.page()}


def shown(read: Read, folder: str) -> list[Shown]:
    """The figures in a folder of figures/, in order."""
    return [one for name in FIGURES if (one := _shown(read, folder, name))]


def picture(read: Read) -> str:
    """PICTURE with its alternative text, and its caption but for the results; nothing where it is not there."""
    for folder in PICTURED:
        if figure := _shown(read, folder, PICTURE):
            before, _, _ = figure.about["caption"].partition(figure.words.results)
            path = f"figures/{folder}/{PICTURE}.png"
            return f"![{safe(figure.words.alt)}]({path})\n\n*{safe(before.strip())}*\n"
    return ""


def findings(rows: str, figures: dict[str, Shown]) -> str:
    """A table's rows, which begin with a link to a figure's notebook and a question, with its finding after them."""

    def row(match: re.Match) -> str:
        found = figures.get(match[2])
        return " ".join(filter(None, [match[1], safe(found.words.finding) if found else "", "|"]))

    return re.sub(r"^(\| \[\d+\]\(notebooks/(\w+)\.ipynb\) \| [^|]* \|).*$", row, rows, flags=re.M)


def verdicts(rows: str, claims: dict[str, list[dict]]) -> str:
    """A table's rows, which begin with a claim's name and what it says, with its verdict in each folder that has one after
    them; and below the table a sentence for each folder."""
    known = {folder: {claim["name"]: claim for claim in own} for folder, own in claims.items() if own}
    names = [FOLDERS[folder] for folder in known]
    out = []
    for name, says in re.findall(r"^\| (C\d+) \| ([^|]*) \|", rows, re.M):
        out.append([name, says, *(own[name]["verdict"] if name in own else "" for own in known.values())])
    told = " ".join(f"On {FOLDERS[folder]} {_against(claims[folder])}." for folder in known)
    return table(["", "claim", *names], out) + (f"\n{told}\n" if told else "")


def _against(claims: list[dict]) -> str:
    """Which claims are contradicted."""
    names = [claim["name"] for claim in claims if claim["verdict"] == "contradicted"]
    return f"the data speak against {listed(names)}" if names else "no claim is contradicted"


def _results(read: Read) -> Iterator[str]:
    """Of each folder a heading, where its figures come from, and a line for each with its results."""
    for folder, name in FOLDERS.items():
        if figures := shown(read, folder):
            yield f"### On {name}\n"
            yield f"Figures {_numbers(figures)} of [figures/{folder}](../figures/{folder}), {safe(_origin(figures))}.\n"
            for figure in figures:
                seeds = f", {figure.seeds} seeds" if figure.seeds > 1 else ""
                said = figure.words.results or " ".join(figure.words.points)
                yield f"- [Figure {figure.number}](../notebooks/{figure.name}.ipynb){seeds}. {safe(said)}"
            if (twice := read(path := f"figures/{folder}/claims.beside.json")) is not None:
                yield f"- {safe(_twice(path, twice, read(f'figures/{folder}/claims.json') or ''))}"
            yield ""


def _twice(path: str, text: str, claims: str) -> str:
    """How far the claims lay apart when the figures were made twice, as `retrainlab claims --beside` has written it of these
    claims."""
    try:
        found = parsed(text)
        if found["of"] != digest(claims):
            raise ValueError(path)
        where = f"{listed(found['devices'])}, torch {listed(found['torch'])}"
        return f"Made once more ({where}), the same figures say this of the claims. {' '.join(found['sentences'])}"
    except (LookupError, ValueError, TypeError):
        raise BadInput(
            f"{path} is damaged, or of other claims than those beside it; make it again with "
            f"{command('claims --beside FOLDER')}, or remove it."
        ) from None


def _origin(figures: list[Shown]) -> str:
    """With which torch and on which devices figures were made, the same said once."""
    found: dict[str, list[Shown]] = {}
    for figure in figures:
        with_ = f"torch {figure.about['versions']['torch']} on {listed(figure.about['devices'])}"
        found.setdefault(with_, []).append(figure)
    if len(found) == 1:
        return f"made with {next(iter(found))}"
    return "made with " + "; ".join(f"{origin} (figures {_numbers(own)})" for origin, own in found.items())


def _numbers(figures: Iterable[Shown]) -> str:
    """`1 to 4, 6 and 7`."""
    spans: list[list[int]] = []
    for number in (figure.number for figure in figures):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    each = [[f"{span[0]} to {span[-1]}"] if len(span) > 2 else [*map(str, span)] for span in spans]
    return listed([number for span in each for number in span])


def _shown(read: Read, folder: str, name: str) -> Shown | None:
    path = f"figures/{folder}/{name}"
    texts = [read(f"{path}.csv"), read(f"{path}.json")]
    if None in texts:
        return None
    table, about = texts
    try:
        data, known = read_saved(StringIO(table)), parsed(about or "")
        kinds = {"caption": str, "devices": list, "versions": dict}
        if any(not isinstance(known[field], kind) for field, kind in kinds.items()):
            raise ValueError(name)
        return Shown(name, words(name, data), int(data["n"].max()) if "n" in data else 0, known)
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError):  # numbers may be texts, or infinite
        again = command(f"figures {name} --preset {folder} --fresh")
        raise BadInput(
            f"The table or words of {path} are damaged or another version's; make it again: {again}."
        ) from None


def _claims(read: Read, folder: str) -> list[dict]:
    """The claims as `retrainlab claims` has written them into a folder; none where it has not."""
    path = f"figures/{folder}/claims.json"
    if (text := read(path)) is None:
        return []
    try:
        found = parsed(text)["claims"]
        [(claim["name"], claim["verdict"]) for claim in found]
    except (LookupError, ValueError, TypeError):
        again = command(f"claims --preset {folder}")
        raise BadInput(f"{path} is damaged or another version's; make it again: {again}.") from None
    return found
