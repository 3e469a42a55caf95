"""What is said of a user's network: which schedule to take, how sure that is, and the networks that were kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from retrainlab import advice, stats
from retrainlab.advice import UNSURE, Advice
from retrainlab.checks import BadInput, choose
from retrainlab.phrases import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1000  # seeds: if more would be needed, the schedules are as good as equal


@dataclass(frozen=True, eq=False)
class Answer:
    """advice: for each budget (see `advice.Advice`). table: a row for each run, as of `study.run_study`. notes: what else is
    to be known. networks: state_dicts, by the place of their row. `print` says it all in sentences."""

    advice: tuple[Advice, ...]
    table: pd.DataFrame
    notes: tuple[str, ...]
    networks: dict[int, dict[str, Tensor]]

    @staticmethod
    def of(
        table: pd.DataFrame,
        sparsity: float,
        budgets: Sequence[float],
        notes: tuple[str, ...],
        networks: dict[int, dict[str, Tensor]],
    ) -> "Answer":
        """The answer that a table gives for one sparsity. Raises BadInput if nothing was retrained, or no seed has every
        schedule."""
        told = tuple(advice.advise(table, sparsity, budget) for budget in budgets)
        return Answer(told, table, notes, networks)

    @property
    def schedule(self) -> str:
        """The schedule to take, for the first budget."""
        return self.advice[0].schedule

    def __str__(self) -> str:
        parts = [advice.words(one) for one in self.advice]
        return "\n".join([*parts, *self.settling(), *self.notes])

    def settling(self) -> list[str]:
        """What the seeds say, and how many of them would tell the schedules apart that cannot be told from the best."""
        seeds = self.advice[0].seeds
        out = [
            "Seeds differ in batches only, since there is one checkpoint: other trainings of the network may differ more."
        ]
        for one in self.advice:
            unsure = one.judged(UNSURE)
            if not unsure or len(seeds) < 2:
                continue
            cell = self.table[self.table["budget"] == one.budget]
            wide = cell.pivot(index="seed", columns="schedule", values="validation_accuracy").astype(float).dropna()
            counts = {name: stats.seeds_needed(wide[name] - wide[one.schedule], one.level, MOST) for name in unsure}
            told = [f"{name} about {max(n, len(seeds) + 1)}" for name, n in counts.items() if n is not None]
            equal = [name for name, n in counts.items() if n is None]
            words = f"to tell it from {listed(told)} seeds would be needed" if told else ""
            words += "; " if told and equal else ""
            words += f"more than {MOST:,} for {listed(equal)}, which may be as good" if equal else ""
            out.append(f"At a budget of {100 * one.budget:g} %, with differences and spread as seen: {words}.")
        if len(seeds) < 2:
            out.append("One seed shows no spread; ask for at least 3.")
        return out

    def weights(self, schedule: str = "", seed: int = 0, budget: float | None = None) -> dict[str, Tensor]:
        """The state_dict of one retraining, with zeros in place; by default of the recommended schedule. Raises BadInput
        unless the networks were kept, for a run that there is not, and for one that has diverged."""
        if not self.networks:
            raise BadInput("No networks were kept; ask for them with advise(..., keep=True).")
        name, length = schedule or self.schedule, self.advice[0].budget if budget is None else budget
        choose(name, dict.fromkeys(self.table["schedule"]), "schedule")
        fits = (
            (self.table["schedule"] == name)
            & (self.table["seed"] == seed)
            & (abs(self.table["budget"] - length) < 1e-9)
        )
        if not fits.any():
            seeds, lengths = (sorted(set(self.table[what])) for what in ("seed", "budget"))
            raise BadInput(f"There is no run of seed {seed} and budget {length:g}; seeds: {seeds}, budgets: {lengths}.")
        place = int(fits.to_numpy().argmax())
        if outcome := self.table["outcome"].iloc[place]:
            raise BadInput(f"There is no network of this run ({outcome}); take another seed or schedule.")
        return dict(self.networks[place])

    def figure(self) -> "Figure":
        """Test accuracy over the budget, and differences to the recommended schedule."""
        from retrainlab.figures import retraining

        whole = stats.finished(self.table)
        table = stats.compared(whole, ["sparsity", "budget"], "test_accuracy", "schedule", self.schedule)
        return retraining.budgets(table.assign(dense=whole["dense_test_accuracy"].mean()))
