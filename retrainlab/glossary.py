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

_SPARSIFY = (
    Term(
        "sparsify during training",
        "",
        "to make a network sparse while it is trained, so that little or nothing is left to prune at the end",
    ),
    Term(
        "GMP",
        "gradual magnitude pruning",
        "the smallest weights go step by step while the network trains",
        sources=("zhu-2017", "gale-2019"),
    ),
    Term(
        "GSM",
        "global sparse momentum",
        "in each step only the weights that matter most for the loss get their gradient, and the others decay towards 0",
        sources=("ding-2019",),
    ),
    Term(
        "DPF",
        "dynamic pruning with feedback",
        "the pruned network is what is evaluated, but all weights are updated, so that a pruned one may come back",
        sources=("lin-2020",),
    ),
    Term(
        "DNW",
        "discovering neural wirings",
        "at each moment the network consists of the largest weights of each layer, while all weights learn",
        sources=("wortsman-2019",),
    ),
    Term(
        "CS",
        "continuous sparsification",
        "each weight has a gate that is learned beside it, and that hardens until it is either open or closed",
        sources=("savarese-2020",),
    ),
    Term(
        "STR",
        "soft threshold reparameterisation",
        "each layer learns the threshold under which its weights are 0",
        sources=("kusupati-2020",),
    ),
    Term(
        "DST",
        "dynamic sparse training",
        "each output channel learns the threshold under which its weights are masked",
        sources=("liu-2020",),
    ),
    Term(
        "LC",
        "learning-compression",
        "two steps take turns: train towards the nearest sparse network, and find the nearest sparse network anew",
        sources=("carreira-perpinan-2018",),
    ),
    Term(
        "RigL",
        "the rigged lottery",
        "sparse from the start: now and then the smallest weights go, and as many come where the gradient is largest",
        sources=("evci-2020",),
    ),
    Term("Static", "", "for comparison: a random mask from the start, and training within it"),
    Term("Random", "", "for comparison: BIMP with a random mask"),
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
    "Methods that sparsify during training": _SPARSIFY,
}
"""All terms by theme: what a reader meets first stands first."""
_HEAD = """# Glossary

The words of this study, each in one sentence: first what is done to a network, then how it is trained again, what is
measured and how sure that is, and last the methods that make a network sparse while it is trained.
"""
_TAIL = """More of each method: [the methods](methods.md).

<!-- `make words` writes this page from retrainlab/glossary.py -->
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
    return "\n".join([_HEAD, *_parts(), _TAIL])


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
    "carreira-perpinan-2018": "Carreira-Perpinan & Idelbayev 2018",
    "ding-2019": "Ding et al. 2019",
    "evci-2020": "Evci et al. 2020",
    "gale-2019": "Gale et al. 2019",
    "han-2015": "Han et al. 2015",
    "holm-1979": "Holm 1979",
    "kusupati-2020": "Kusupati et al. 2020",
    "le-2021": "Le & Hua 2021",
    "lin-2020": "Lin et al. 2020",
    "liu-2020": "Liu et al. 2020",
    "renda-2020": "Renda et al. 2020",
    "savarese-2020": "Savarese et al. 2020",
    "wortsman-2019": "Wortsman et al. 2019",
    "zhu-2017": "Zhu & Gupta 2017",
    "zimmer-2023": "Zimmer et al. 2023",
}


def cited(anchor: str) -> str:
    """Author and year of a work that docs/references.md has under this anchor."""
    return WORKS[anchor]
