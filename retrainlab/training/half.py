"""What bfloat16 would save on a CPU: measured beside float32 when an engine is chosen, and told, never taken by itself.

Where the CPU multiplies bfloat16 itself (AMX), large feature maps take half of float32's time or less; where it does not,
they take several times as long.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from retrainlab.config import PRECISIONS
from retrainlab.device import repeatable
from retrainlab.training.state import Setup, State
from retrainlab.training.timing import Trial

SHARE = "bfloat16"  # the name in a record of what is remembered of an engine
WORTH = 0.8  # a share of float32's time below which a study says what could be saved
ROUND, ROUNDS = 0.2, 2  # seconds for each precision in a round, and how many rounds
LONG = 1.0  # seconds: of a first step that lasts longer, what is done only once is a small part
LOOK = 0.05  # seconds: of a step that is longer, a part of this length is tried first
HOPELESS = 2.0  # a share of float32's time that is found in such a part and makes an end of it


def measured(setup: Setup, start: State, members: int) -> dict[str, float]:
    """The share of float32's time that so many members at once, or the loop for 0, take in bfloat16, under SHARE.

    Empty for a setup that is in bfloat16 itself, off the CPU (a GPU's time in bfloat16 is found by a probe of its own), and
    for a network that cannot be computed in it.
    """
    if setup.precision != PRECISIONS[0] or setup.data.device.type != "cpu":
        return {}

    @cache
    def trial(precision: str, images: int) -> Trial:
        return Trial(replace(setup, precision=precision, batch_size=images), start)

    def seconds(precision: str, steps: int, images: int) -> float:
        own = trial(precision, images)
        return steps * (members * own.many(members, steps) if members else own.single(steps))

    with repeatable(setup.data.device):
        share = _share(seconds, setup.batch_size)
    return {} if share is None else {SHARE: float(f"{share:.3g}")}


def _share(seconds: Callable[[str, int, int], float], batch: int) -> float | None:
    """bfloat16's time over float32's, by seconds(precision, steps, images in a step). They take turns, so that a machine
    that slows down slows both; the least counts. None where bfloat16 fails."""
    full, half = PRECISIONS
    whole = seconds(full, 1, batch)
    try:
        if whole > LOOK:
            few = max(2, round(batch * LOOK / whole))
            for _ in range(2):  # what is done only once is in the first
                share = seconds(half, 1, few) / seconds(full, 1, few)
            if share > HOPELESS:
                return share
        first = seconds(half, 1, batch)
    except (RuntimeError, MemoryError):  # an operation that torch has in float32 only
        return None
    if max(whole, first) > LONG:
        return first / whole
    steps = max(1, min(20, round(ROUND / max(whole, first))))
    rounds = [(seconds(full, steps, batch), seconds(half, steps, batch)) for _ in range(ROUNDS)]
    return min(h for _, h in rounds) / min(f for f, _ in rounds)


def told(record: dict) -> str:
    """What a record says of bfloat16, in words; empty if nothing."""
    if (share := record.get(SHARE)) is None:
        return ""
    return f"bfloat16 would take about {share:.2f} {'of the time' if share < 1 else 'times as long'}"


def hint(record: dict) -> str:
    """What a study says of bfloat16 to whom it would save a good part of the time; empty for others."""
    if record.get(SHARE, 1.0) >= WORTH:
        return ""
    return f"{told(record)} (--precision bfloat16; other results, with keys of their own)"
