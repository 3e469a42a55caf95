"""The terms of this study, each with one sentence: what the README, docs/glossary.md, the explorers and the sessions say of
them. Names and texts alone; nothing is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term as the field writes it.

    long: spelt out, or empty. words: what it means, a sentence without a capital and a full stop. hint: the same in few
    words, for a list to choose from. sources: anchors of docs/references.md.
    """

    name: str
    long: str
    words: str
    hint: str = ""
    sources: tuple[str, ...] = ()


_SCHEDULES = (
    Term(
        "FT",
        "fine-tuning",
        "the last learning rate of the dense run, throughout",
        "the dense run's last, small rate",
        ("han-2015",),
    ),
    Term(
        "LRW",
        "learning-rate rewinding",
        "the end of the dense run's learning rates once more",
        "replay the end of the dense run",
        ("renda-2020",),
    ),
    Term(
        "SLR",
        "scaled learning-rate restarting",
        "the dense run's learning rates, compressed into the budget",
        "the whole dense schedule, compressed",
        ("le-2021",),
    ),
    Term(
        "CLR",
        "cyclic learning-rate restarting",
        "a cosine from the dense run's largest learning rate to its smallest",
        "a cosine, from the largest rate down",
        ("le-2021",),
    ),
    Term(
        "LLR",
        "linear learning-rate restarting",
        "a straight line from the largest learning rate to 0",
        "a line, from the largest rate to 0",
        ("zimmer-2023",),
    ),
    Term(
        "ALLR",
        "adaptive LLR",
        "the line starts lower, the less the prune hurt and the shorter the time",
        "LLR, started lower the less the prune hurt",
        ("zimmer-2023",),
    ),
)
SCHEDULES = {term.name: term for term in _SCHEDULES}
"""The retraining schedules that have a name, in the order of `config.NAMED_SCHEDULES`."""
BIMP = Term(
    "BIMP",
    "budgeted iterative magnitude pruning",
    "dense training, pruning and ALLR in the time of one ordinary run",
    sources=("zimmer-2023",),
)

GROUPS: dict[str, tuple[Term, ...]] = {
    "The three steps": (
        Term("dense run", "", "ordinary training of the network, with all its weights"),
        Term("prune", "", "weights are set to 0 for good; the mask says which ones stay"),
        Term("retrain", "", "the weights that stay are trained again, while those that were removed stay 0"),
        Term("sparsity", "", "the share of the prunable weights that is exactly 0"),
        Term("budget", "", "the length of the retraining in each cycle, as a share of the dense run's"),
        Term("schedule", "", "which learning rate each step has: a curve over the steps"),
    ),
    "Schedules of retraining": _SCHEDULES,
    "Words about learning rates": (
        Term("iteration, step", "", "one update of the weights, from one batch of images"),
        Term("epoch", "", "as many steps as it takes to see each training image once"),
        Term("warm-up", "", "the first steps of a training, in which the learning rate rises from 0 to the peak"),
        Term("peak", "eta_max", "the largest learning rate of the dense run after its warm-up"),
        Term("plateau", "", "a part of a stepped schedule in which the learning rate does not change"),
        Term(
            "d",
            "ALLR's factor",
            "where ALLR starts, as a share of the peak: the larger of d1, the damage, and d2, the budget; at most 1",
            sources=("zimmer-2023",),
        ),
        Term(
            "d1",
            "the damage",
            "how much of the weights' norm the prune took, as a share of the most that it could have taken",
            sources=("zimmer-2023",),
        ),
    ),
    "Pruning": (
        Term("prunable weights", "", "those of Conv and Linear layers; never biases or normalisation layers"),
        Term("mask", "", "data beside the weights that says which of them stay"),
        Term("magnitude pruning", "", "the weights nearest to 0 go", sources=("han-2015",)),
        Term("global", "", "weights of all layers are ranked together, so that some layers lose more than others"),
        Term(
            "one-shot, iterative", "", "all at once and one retraining, or some at a time with a retraining after each"
        ),
        Term("cycle", "", "one prune and the retraining after it; each takes the same share of what is left"),
        Term("IMP", "iterative magnitude pruning", "a dense run, then cycles", sources=("han-2015", "renda-2020")),
        BIMP,
        Term(
            "methods that sparsify during training",
            "",
            "those that make the network sparse while it is trained, such as GMP, DPF or STR",
            sources=("zhu-2017", "lin-2020", "kusupati-2020"),
        ),
    ),
    "What is measured": (
        Term("validation accuracy", "", "on images that choices are made by, and that are not trained on"),
        Term("test accuracy", "", "on images that no choice was made by, read once for each run"),
        Term(
            "stability",
            "pruning stability",
            "the share of the accuracy that is left straight after the prune",
            sources=("bartoldson-2020",),
        ),
        Term("recovery", "", "the accuracy that retraining brings back, as a share of what pruning took"),
        Term("recalibrated", "", "with BatchNorm's statistics measured anew, which alone brings back some accuracy"),
        Term("speed-up in theory", "", "dense multiply-adds over those with weights that are not 0; no clock shows it"),
    ),
    "How sure": (
        Term("seed", "", "a number that random choices start from; another one is another network and other batches"),
        Term("paired difference", "", "between two runs that share network, mask and batches, seed by seed"),
        Term("interval", "95 % confidence interval", "Student's t over the seeds; it counts seeds and nothing else"),
        Term("corrected", "", "for the number of comparisons, by Holm's rule", sources=("holm-1979",)),
        Term("undecided", "", "nothing was shown; it does not mean that there is no difference"),
        Term("smallest difference", "", "what so many seeds with such a spread would find in 80 % of studies"),
    ),
}
"""All terms by theme."""
_HEAD = """# Glossary

The words of this study, as the README, the explorers and the sessions use them. `make words` writes this page from
[glossary.py](../retrainlab/glossary.py); [methods.md](methods.md) says more of each method, and a
sheet that `make teach` writes has the formulas.
"""


def hints() -> dict[str, str]:
    """What each schedule does, in few words, by its name."""
    return {name: term.hint for name, term in SCHEDULES.items()}


def lines(terms: Iterable[Term]) -> list[str]:
    """A line of a Markdown list for each term."""
    return [f"- **{t.name}**{', ' if t.long else ''}{t.long}: {t.words}" for t in terms]


def schedules() -> str:
    """The schedules and BIMP as a list, as the README has it."""
    return "\n".join([*lines([*_SCHEDULES, BIMP]), ""])


def rows() -> list[str]:
    """A row of a Markdown table for each schedule: its name and its words."""
    return [f"| **{term.name}** | {term.words} |" for term in _SCHEDULES]


def page() -> str:
    """docs/glossary.md: all terms, with links to the works that they come from."""
    return "\n".join([_HEAD, *_parts()])


def _parts() -> Iterator[str]:
    for group, terms in GROUPS.items():
        yield f"## {group}\n"
        for term, line in zip(terms, lines(terms)):
            links = "; ".join(f"[{cited(anchor)}](references.md#{anchor})" for anchor in term.sources)
            yield f"{line}{f' ({links})' if links else ''}"
        yield ""


WORKS = {
    "bartoldson-2020": "Bartoldson et al. 2020",
    "blalock-2020": "Blalock et al. 2020",
    "han-2015": "Han et al. 2015",
    "holm-1979": "Holm 1979",
    "kusupati-2020": "Kusupati et al. 2020",
    "le-2021": "Le & Hua 2021",
    "lin-2020": "Lin et al. 2020",
    "renda-2020": "Renda et al. 2020",
    "zhu-2017": "Zhu & Gupta 2017",
    "zimmer-2023": "Zimmer et al. 2023",
}


def cited(anchor: str) -> str:
    """Author and year of a work that docs/references.md has under this anchor."""
    return WORKS[anchor]
