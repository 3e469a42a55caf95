"""Numbers and names as every sentence has them."""

from collections.abc import Sequence


def percent(part: float) -> str:
    """A measured share of 1, to a tenth of a percent: `92.2 %` for 0.9216."""
    return f"{100 * part:.1f} %"


def share(part: float) -> str:
    """A chosen share of 1, with the digits that it has: `97.5 %` for 0.975, `90 %` for 0.9; four where it has many more, as
    that of some epochs: `5.495 %` for 10 / 182."""
    whole = f"{100 * part:g}"
    return f"{whole if abs(float(whole) - 100 * part) < 1e-9 else f'{100 * part:.4g}'} %"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or else its kind, without the full stop."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def listed(names: Sequence[str]) -> str:
    """One or more names as `A, B and C`."""
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last
