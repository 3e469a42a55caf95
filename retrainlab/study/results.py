"""The keeper of results: under which name each lies in the store, what is there, and how what is missing is made.

A first training is known by its Recipe, the masks of the first cycle by (Recipe, Prune), a result by its Experiment; none
who asks needs a fingerprint, nor the folder that an empty store name means.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch

from retrainlab import importing
from retrainlab.checks import BadInput
from retrainlab.config import PRECISIONS, Experiment, Prune, Recipe
from retrainlab.data.folders import printable
from retrainlab.data.sources import fingerprint
from retrainlab.keys import key, references
from retrainlab.paths import store_root
from retrainlab.progress import Stages, Tell
from retrainlab.study import checkpoints, failures, older
from retrainlab.study.archive import Archive, shipped
from retrainlab.study.checkpoints import Checkpoints
from retrainlab.study.claims import holds
from retrainlab.study.making import (
    Meter,
    Noun,
    Pair,
    Thing,
    Watch,
    first_trainings,
    grouped,
    made_of,
    recipe_of,
    retrainings,
    starts_of,
    trained_as,
    work,
)
from retrainlab.study.measured import Dense, Pruned, belongs
from retrainlab.study.older import Unfit
from retrainlab.study.result import Result
from retrainlab.study.stages import networks_together, prune_dense
from retrainlab.study.store import Store
from retrainlab.training.engine import TOGETHER, Engine, forced
from retrainlab.training.state import State

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """What a store holds, by its nouns. fingerprints: of data sets, by name and image size; each is taken once, when it is
    needed, since a folder of images takes a while. owner: of claims, if work is shared with others (see `sharing`)."""

    store: Store
    fingerprints: dict[tuple[str, int | None], str] = field(default_factory=dict)
    owner: str = ""

    @staticmethod
    def at(place: "Place" = "") -> "Results":
        """The results in that store or folder, or in the project's own if the name is empty, and under a folder those that
        come with the project; fingerprints are taken anew."""
        if isinstance(place, Results):
            return Results(place.store)
        return Results(place if isinstance(place, Store) else Store(Path(place) if place else store_root(), shipped()))

    def fingerprint(self, recipe: Recipe) -> str:
        """The fingerprint of the recipe's data set."""
        of = recipe.data, recipe.image_size
        if of not in self.fingerprints:
            self.fingerprints[of] = fingerprint(*of)
        return self.fingerprints[of]

    def key(self, noun: Noun) -> str:
        """The name of what is stored of a noun: 16 hex digits. Raises BadInput for references that cannot be imported, or
        were read from a file."""
        code = {what: importing.fingerprint(name) for what, name in references(noun).items() if what != "data"}
        match noun:
            case Experiment(recipe):
                return key("result", [noun], self.fingerprint(recipe), code)
            case Recipe():
                return key("dense", [noun], self.fingerprint(noun), code)
            case recipe, _:
                return key("pruned", noun, self.fingerprint(recipe), code)

    def dense(self, recipe: Recipe, device: torch.device) -> Dense | None:
        """The network after its first training, on `device`, or None if it is not stored."""
        found = self.store.get("dense", self.key(recipe))
        return None if found is None else found.dense(device)

    def told(self, noun: Noun) -> Result | None:
        """What was measured of a noun, also where its weights or masks were left out; None if it is not stored."""
        kinds = {Recipe: "dense", tuple: "pruned", Experiment: "results"}
        return self.store.told(kinds[type(noun)], self.key(noun))

    def every(self) -> Iterator[tuple[str, Result]]:
        """(key, result) of every experiment that is stored; what is damaged is passed over."""
        seen: set[str] = set()
        places: tuple[Store | Archive, ...] = (self.store, *self.store.shelves)
        for place in places:
            with suppress(Unfit, BadInput):  # a shelf that is no file of results
                own = place.results() if isinstance(place, Store) else {}
                yield from sorted(own.items())
                seen |= own.keys()
                for name in (name for kind, name in place.names() if kind == "results" and name not in seen):
                    with suppress(Unfit, BadInput):
                        if (found := place.read("results", name)) is not None:
                            seen.add(name)
                            yield name, found.result

    def masks(self, recipe: Recipe, prune: Prune, device: torch.device) -> Pruned | None:
        """The first cycle's masks (True = stays) on `device` and what pruning did, or None if they are not stored."""
        found = self.store.get("pruned", self.key((recipe, prune)))
        return None if found is None else found.pruned(device)

    def of(self, experiment: Experiment) -> Result | None:
        """The experiment's result, or None if it is not stored."""
        found = self.store.get("results", name := self.key(experiment))
        if found is None and self._adopt(experiment):
            found = self.store.get("results", name)
        return None if found is None else found.result

    def many(self, asked: Mapping[str, Experiment]) -> dict[str, Result]:
        """The results of those of the experiments, given by key, that are stored: what `of` gives for each, but a hundred
        thousand in seconds (see `index`)."""
        found = self.store.results(asked)
        adopted: set[Recipe] = set()
        for name, e in asked.items():
            if name in found:
                continue
            single = e.recipe.precision == PRECISIONS[0] and not self.store.path("results", name).exists()
            nothing_older = e.recipe in adopted and single  # to be given its name
            result = self.store.told("results", name) if nothing_older else self.of(e)
            adopted.add(e.recipe)
            if result is not None:
                found[name] = result
        return found

    def put(self, noun: Noun, thing: Thing) -> None:
        """Keep what was made of a noun, whose checkpoints go; but not if the owner has lost its claim of it to another.
        Raises BadInput where the store cannot be written."""
        name = self.key(noun)
        if self.owner and not holds(self.store.root, self.owner, name):
            return
        self.store.put(name, thing)
        checkpoints.remove(self.store.root, name)
        failures.remove(self.store.root, name)

    def work(self, experiments: Iterable[Experiment]) -> float:
        """How much of them is missing, in epochs of training."""
        lacking = [e for e in dict.fromkeys(experiments) if self.of(e) is None]
        first = [r for r in {e.recipe for e in lacking} if self.store.get("dense", self.key(r)) is None]
        return work([*first, *lacking])

    def make(
        self,
        wanted: Sequence[Recipe | Experiment],
        device: torch.device,
        watch: Watch = Watch(),
        engine: Engine | None = None,
    ) -> Iterator[tuple[Noun, Thing]]:
        """Make what is missing of experiments and first trainings, which may differ in anything, in this process.

        Yields (noun, what it is) as soon as each is there: results that are stored; then the first trainings that the
        others need, stored or made; their masks; and their results, which tell by `stopped` whether `watch` ended them.
        What is whole is kept, unless the store cannot be written, as on a shared machine: then it is made again next time.
        engine: how it trains, by default many side by side. Raises BadInput for what cannot be run.
        """
        engine = engine or forced(TOGETHER[device.type], device)
        lacking: list[Experiment] = []
        for experiment in dict.fromkeys(noun for noun in wanted if isinstance(noun, Experiment)):
            if (result := self.of(experiment)) is None:
                lacking.append(experiment)
            else:
                yield experiment, result
        recipes = dict.fromkeys(recipe_of(n) for n in wanted if isinstance(n, Recipe) or n in lacking)
        dense: dict[Recipe, Dense] = {}
        for recipe in recipes:
            if (network := self.dense(recipe, device)) is not None:
                dense[recipe] = network
                yield recipe, network
        first = [recipe for recipe in recipes if recipe not in dense]
        stages = Stages(work([*first, *lacking]), watch.tell)
        watch = replace(watch, tell=stages.tell)
        for recipe, network in self._first_trained(first, device, engine, watch, stages):
            dense[recipe] = network
            yield recipe, network
        if first and watch.stopped:
            return
        pruned: dict[Pair, Pruned] = {}
        for pair in dict.fromkeys((e.recipe, e.prune) for e in lacking):
            pruned[pair] = self.masks_of(pair, dense[pair[0]], device)
            yield pair, pruned[pair]
        for alike in grouped(lacking, trained_as).values():
            stages.stage("Retraining ...", work(alike))
            for experiment, result in retrainings(alike, dense, pruned, device, engine, watch):
                if not result.scalars["stopped"]:
                    self._keep(experiment, result)
                yield experiment, result
            if not watch.stopped:
                stages.tell(1.0)

    def network(
        self, experiment: Experiment, device: torch.device, engine: Engine, tell: Tell = lambda share, words: None
    ) -> tuple[Result, State]:
        """The network that an experiment ends with, which no store keeps: retrained from the stored dense network and masks,
        made first where they are missing; and the result of this training. Raises BadInput for what cannot be run."""
        watch = Watch(tell=tell)
        [(_, dense)] = self.make([experiment.recipe], device, watch, engine)
        assert isinstance(dense, Dense)
        start = dense, self.masks_of((experiment.recipe, experiment.prune), dense, device)
        return next(networks_together([experiment], [start], str(device), engine, Meter([experiment], watch).calls))[1]

    def make_task(self, nouns: Sequence[Noun], device: torch.device, engine: Engine, watch: Watch) -> Iterator[Thing]:
        """Make nouns of one kind, from what the store has for them and their checkpoints, and keep each before it is
        yielded; once `watch` stops it, what is unfinished has checkpoints. Raises BadInput if what they start from is not
        there, if images have changed, or if the store cannot be written."""
        self.check_unchanged(recipe_of(nouns[0]))
        recipes, pairs = starts_of(nouns)
        dense = {r: self.required(self.dense(r, device)) for r in recipes}
        pruned = {p: self.required(self.masks(*p, device)) for p in pairs}
        watch = replace(watch, checkpoints=Checkpoints(self.store.root, list(map(self.key, nouns)), str(engine)))
        for noun, thing in made_of(nouns, dense, pruned, device, engine, watch):
            self.put(noun, thing)
            yield thing

    def _first_trained(
        self, recipes: Sequence[Recipe], device: torch.device, engine: Engine, watch: Watch, stages: Stages
    ) -> Iterator[tuple[Recipe, Dense]]:
        for alike in grouped(recipes, trained_as).values():
            stages.stage("Training the network first (once; it is kept) ...", work(alike))
            for recipe, network in first_trainings(alike, device, engine, watch):
                if not watch.stopped:
                    self._keep(recipe, network)
                    yield recipe, network
            if watch.stopped:
                return
            stages.tell(1.0)  # some may have diverged, and have fewer points

    def masks_of(self, pair: Pair, dense: Dense, device: torch.device) -> Pruned:
        """The masks made from `dense`: those stored, or new ones, which are kept."""
        masks = self.masks(*pair, device)
        if masks is None or not belongs(masks, dense):
            masks = prune_dense(*pair, dense, str(device))
            self._keep(pair, masks)
        return masks

    def _keep(self, noun: Noun, thing: Thing) -> None:
        with suppress(BadInput):
            self.put(noun, thing)

    def required(self, thing: T | None) -> T:
        """The thing that the store must have. Raises BadInput if it does not."""
        if thing is None:
            raise BadInput(
                f"Files in the store {self.store.root} were changed or damaged while the study ran; give the same command "
                "again, which goes on from what is kept."
            )
        return thing

    def check_unchanged(self, recipe: Recipe) -> None:
        """Raise BadInput if the images are no longer those under whose fingerprint results are to be stored."""
        if Results(self.store).fingerprint(recipe) != self.fingerprint(recipe):
            raise BadInput(
                f"{printable(recipe.data)} changed while the study ran, so its results would be of no one data set; what "
                "was finished is kept under the images as they were, and the same command starts with those of now."
            )

    def _adopt(self, experiment: Experiment) -> bool:
        """Look for what an earlier version made of it in bfloat16 and stored as if in float32 (see `older.adopt`)."""
        both = [replace(experiment, recipe=replace(experiment.recipe, precision=p)) for p in PRECISIONS]
        nouns: dict[str, Sequence[Noun]] = {
            "dense": [e.recipe for e in both],
            "pruned": [(e.recipe, e.prune) for e in both],
            "results": both,
        }
        return older.adopt(self.store, {kind: list(map(self.key, pair)) for kind, pair in nouns.items()})


Place = Results | Store | Path | str | None
