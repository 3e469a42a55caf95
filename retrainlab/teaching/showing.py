"""What the sessions show: a figure with words read from its table, lines over anything, and how right a guess was."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from retrainlab.checks import BadInput
from retrainlab.explore.views.predict import Guess, score
from retrainlab.figures import sentences, style
from retrainlab.figures.saving import Picture, png
from retrainlab.phrases import percent, share


def shown(figure: Figure, name: str, table: pd.DataFrame, caption: str) -> Picture:
    """A figure with the alternative text of the project's figure `name`, which has such a table."""
    return Picture(png(figure), sentences.words(name, table).alt, caption)


@style.styled
def lines(table: pd.DataFrame, x: str, by: str, xlabel: str, caption: str) -> Picture:
    """Mean test accuracies over the column `x` (shares), with intervals: a line for each value of the column `by`.

    table: that of `stats.summary`.
    """
    looks = style.SCHEDULES | style.METHODS | style.DENSE
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    ax, told = figure.subplots(), []
    for i, (name, line) in enumerate(table.groupby(by, sort=False)):
        look = looks.get(str(name), style.place(i))
        drawn = style.BARS | look.marks | {"linestyle": look.dashes, "label": str(name)}
        ax.errorbar(100 * line[x] + (i - 0.5) * 0.15, 100 * line["mean"], yerr=style.spread(line), **drawn)
        told.append(f"{name}: " + ", ".join(f"{percent(m)} at {share(at)}" for at, m in zip(line[x], line["mean"])))
    ax.set(xlabel=xlabel, ylabel="Test accuracy (%)", ylim=(0, 102))
    style.legend(figure, ax, 4)
    return Picture(
        png(figure), f"Lines of test accuracy over {xlabel[0].lower()}{xlabel[1:]}. {'; '.join(told)}.", caption
    )


def guessed(order: Sequence[str], means: Mapping[str, float]) -> str:
    """How right a guess was, in a sentence. order: names, the best first; means: what each reached, a share."""
    names = ", ".join(means)
    if not order:
        return f"No guess yet: put {names} in your order into `guess`, the best first."
    came = ", ".join(f"{name} {percent(mean)}" for name, mean in sorted(means.items(), key=lambda one: -one[1]))
    try:
        if set(order) != set(means):
            raise BadInput(f"The guess should name each of {names} once.")
        tau, exact = score(Guess("you", tuple(order), 0), means).told
    except BadInput as error:
        return str(error)
    worth = f"Kendall's tau: {tau} (+1 is the right order, -1 its reverse); {exact} at an exact place"
    return f"{worth}. It came out as: {came}."


def yours(guess: object, write: Callable[[float], str] = "{:g}".format) -> str:
    """What was guessed, as the end of a sentence. guess: None for nothing yet; write: how such a number is written."""
    if guess is None:
        return "you have made no guess"
    if isinstance(guess, bool) or not isinstance(guess, int | float):
        return f"your guess, {guess!r}, is no number"
    return f"your guess was {write(guess)}"
