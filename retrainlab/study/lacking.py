"""What a study lacks that trains nothing: it reads what is stored, and says what is not and how much training that is."""

from collections.abc import Iterable

from retrainlab.checks import BadInput
from retrainlab.config import Recipe
from retrainlab.study.making import trained_as, trained_epochs
from retrainlab.study.plan import Missing


class NotStored(BadInput):
    """Raised by a study that is to train nothing, if runs are missing.

    missing: these. more: whether there are others, which follow only from those, as in a search.
    """

    def __init__(self, missing: Missing, more: bool = False):
        self.missing, self.more = missing, more
        super().__init__(
            f"Not stored: {words(missing, more)}. Nothing is trained here; train them by the same command without "
            "--stored-only (in a notebook: stored_only = False), or name a store that has them."
        )


def words(missing: Missing, more: bool = False) -> str:
    """`27 runs, 816 member-epochs, 546 of them in 3 first trainings`; a member-epoch is one network's training for an
    epoch. more: that this is the least."""
    total, first = sum(epochs(missing).values()), sum(recipe.epochs for recipe in missing.dense.values())
    count, trained = len(missing.results), len(missing.dense)
    text = (
        f"{'at least ' * more}{count:,} run{'s' * (count != 1)}, {total:,.0f} member-epoch{'s' * (round(total) != 1)}"
    )
    if trained:
        text += f", {first:,} of them in {trained} first training{'s' * (trained != 1)}"
    return text


def epochs(missing: Missing) -> dict[Recipe, float]:
    """Member-epochs by the settings that trainings have in `common`, on which the time of a step depends."""
    out: dict[Recipe, float] = {}
    for noun in missing.trained:
        out[trained_as(noun)] = out.get(trained_as(noun), 0.0) + trained_epochs(noun)
    return out


def joined(several: Iterable[Missing]) -> Missing:
    """What several studies lack together, each run and each first training once."""
    out = Missing({}, {}, {})
    for one in several:
        out = Missing(out.dense | one.dense, out.pruned | one.pruned, out.results | one.results)
    return out
