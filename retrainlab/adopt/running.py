"""Retrainings of a network of the user's: all that an answer asks for, from the store where they are there."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from retrainlab.adopt.checkpoint import Network
from retrainlab.adopt.rates import Past
from retrainlab.checks import BadInput, Stopped
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.device import repeatable
from retrainlab.keys import key
from retrainlab.progress import Progress
from retrainlab.study.courses import drive
from retrainlab.study.making import Meter, Watch, work
from retrainlab.study.measured import Dense, Pruned, damage, dense_of, result_of
from retrainlab.study.reading import rows
from retrainlab.study.result import Result, record
from retrainlab.study.results import Place, Results
from retrainlab.study.speed import WORTH_A_PROBE
from retrainlab.study.stages import evaluations_of
from retrainlab.training import cycles, loop
from retrainlab.training.cycles import Cut
from retrainlab.training.engine import TOGETHER, Engine, decide
from retrainlab.training.loop import recalibrate, validate
from retrainlab.training.state import Job, Point, Setup, State, Trained
from retrainlab.training.timing import probe


@dataclass(frozen=True, eq=False)
class Run:
    """What all retrainings share. trained: whether the network is, or else is trained first. adopted: whether its own masks
    are the prune. estimate: ALLR's d1, where what that prune took cannot be measured."""

    setup: Setup
    network: Network
    past: Past
    trained: bool = True
    adopted: bool = False
    estimate: float | None = None

    def start(self, prune: Prune) -> tuple[Dense, Pruned]:
        """The network before the prune, as far as it is known, and the prune, both measured."""
        setup, recipe, dense = self.setup, self.past.recipe, self.dense()
        state = dense.state
        masks = self.network.masks
        cut = Cut(masks) if self.adopted else cycles.cut(setup, state, prune, 0, recipe.seed, masks or None)
        after = cut.of(state)
        raw, _ = validate(setup, after)
        lifted, _ = validate(setup, recalibrate(setup, after, (recipe.seed, "recalibrate")))
        kept = record(prune, damage(dense, raw, lifted), {}, setup.data.device, 0.0, weights=dense.weights)
        return dense, Pruned(cut.masks, kept, cut.updated, self.estimate)

    def dense(self, watch: Watch = Watch()) -> Dense:
        """The network as it is, measured; one that is not trained is trained first. Raises BadInput if that diverges, or is
        stopped."""
        recipe, state = self.past.recipe, State.of(self.setup.model, self.setup.data.device)
        if self.trained:
            point = Point(0, *validate(self.setup, state), None, self.setup.sparsity(state.params))
            return dense_of(self.setup, recipe, Trained(state, (point,), 0, 0.0), Engine())
        meter = Meter([recipe], watch)
        seed, points = (recipe.seed, "dense"), evaluations_of(recipe)
        job = Job(state, self.past.original.lr, seed, evaluations=points, on_point=partial(meter, 0))
        dense = dense_of(self.setup, recipe, loop.train(self.setup, job, watch.stop), Engine())
        if why := dense.result.outcome or "stopped" * watch.stopped:
            raise BadInput(
                f"The first training has no network to prune ({why}); if it diverged, lower its learning rate."
            )
        return dense

    def course(
        self, experiment: Experiment, start: tuple[Dense, Pruned], engine: Engine, on_point: Callable[[Point], None]
    ) -> Generator[Job, Trained, tuple[Result, State]]:
        """One retraining, as `drive` carries it out."""
        dense, pruned = start
        end = yield from cycles.run(self.setup, experiment, dense.state, self.past.original, pruned.cut, on_point)
        return result_of(self.setup, experiment, start, end, engine), end[0]


def plans(recipe: Recipe, prune: Prune, ways: Sequence[Retrain], seeds: int) -> list[Experiment]:
    """Every way with every seed, which all start from one network and one mask."""
    return [Experiment(replace(recipe, seed=seed), prune, way) for way in ways for seed in range(seeds)]


def retrained(
    run: Run, plan: Sequence[Experiment], code: Mapping[str, str], place: Place, keep: bool, watch: Watch | None = None
) -> tuple[pd.DataFrame, dict[int, State]]:
    """A row for each experiment, as of `study.run_study`, with the names in `emptied` of weights of which nothing is left;
    and with `keep` the networks by the place of their row. code:
    hashes of `data`, and of the `model` with all that is its own; under them results are stored as soon as they are there.
    watch: what is called meanwhile, in place of a line of progress; what it stops has no row.

    Raises Stopped on Ctrl-C, with what is finished kept.
    """
    store = Results.at(place).store
    more = {"model": code["model"]} | ({} if run.estimate is None else {"d1": repr(run.estimate)})
    more |= {"prune": "the network's own"} if run.adopted else {}
    more |= {} if run.trained else {"dense": "trained first"}
    keys = [key("result", [e], code["data"], more) for e in plan]
    found = {} if keep else {i: s.result for i, k in enumerate(keys) if (s := store.get("results", k)) is not None}
    states: dict[int, State] = {}
    todo = [i for i in range(len(plan)) if i not in found]
    if todo:
        progress = Progress("own")
        seen = watch or Watch(tell=lambda share, words: progress(share, words or f"{len(found)} of {len(plan)} runs"))
        try:
            seen.tell(0.0, f"measuring the network, then {len(todo)} retrainings")
            with repeatable(run.setup.data.device):
                start = run.start(plan[0].prune)
                some = [plan[i] for i in todo]
                engine = _engine(run, start, some)
                meter = Meter(some, seen)
                courses = [run.course(e, start, engine, partial(meter, i)) for i, e in enumerate(some)]
                for i, (result, state) in drive(run.setup, courses, engine, meter.calls):
                    meter.ended(i)
                    if result.scalars["stopped"]:
                        continue
                    found[todo[i]] = result
                    with suppress(BadInput):  # a store that cannot be written: it is made again next time
                        store.put(keys[todo[i]], result)
                    if keep:
                        states[todo[i]] = state
            seen.tell(1.0, f"{len(found)} of {len(plan)} runs")
        except KeyboardInterrupt:
            kept = f"{len(found)} of {len(plan)} runs are finished and kept in {store.root}"
            raise Stopped(f"Stopped: {kept}; the same call goes on from there.") from None
        finally:
            progress.close()
    if len(todo) < len(plan) and watch is None:
        print(f"own: {len(plan) - len(todo)} of {len(plan)} runs were in the store {store.root}.", file=sys.stderr)
    there = sorted(found)
    table = rows([plan[i] for i in there], [keys[i] for i in there], [found[i] for i in there])
    table = table.assign(emptied=[_emptied(found[i]) for i in there])
    return table, {place: states[i] for place, i in enumerate(there) if i in states}


def _emptied(result: Result) -> str:
    """The prunable weights all of which are 0 at the end, in a list."""
    return ", ".join(name for name, share in result.curves["layer_sparsity"].items() if share == 1)


def _engine(run: Run, start: tuple[Dense, Pruned], plan: Sequence[Experiment]) -> Engine:
    """The fastest engine by a short probe, where there is work enough; the loop for a network that cannot be stacked."""
    steps = work(plan) * len(run.past.original.lr) / run.past.recipe.epochs
    if len(plan) < 2 or steps < WORTH_A_PROBE:
        return Engine()
    return decide(probe(run.setup, start[0].state), TOGETHER[run.setup.data.device.type])
