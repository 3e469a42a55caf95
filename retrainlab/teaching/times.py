"""How long the sessions take, as benchmarks/sessions.py has measured it: JSON -> Markdown."""

import json

from retrainlab.checks import BadInput
from retrainlab.figures.blocks import table

FILE = "benchmarks/results/sessions-cpu-2-cores.json"
HEADS = ["session", "part", "share of its time", "seconds on two cores with nothing else to do, about"]
CORES = 2


def block(text: str | None) -> str:
    """Seconds of each part; nothing without a measurement. text: that of FILE. Raises BadInput for a damaged one.

    The measured seconds are too many where the machine was busy, while its processor time is not: so each part has its share
    of the seconds, and of the processor time over CORES.
    """
    if text is None:
        return ""
    try:
        rows = []
        for name, measured in json.loads(text).items():
            parts, whole = measured["parts"], measured["processor"] / CORES
            total = sum(parts.values())
            rows += [
                [name, part, f"{100 * seconds / total:.0f} %", _seconds(whole * seconds / total)]
                for part, seconds in parts.items()
            ]
            rows.append([name, "in all", "100 %", f"{whole:.0f}"])
    except (ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError):
        raise BadInput(f"{FILE} is damaged; make it again with benchmarks/sessions.py.") from None
    return table(HEADS, rows)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 1 else "under 1"
