"""`own(...)`: a network of the user's, from its checkpoint, with the data and learning rates that it was trained with."""

import copy
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from retrainlab import layers, weights
from retrainlab.adopt import checkpoint as reading
from retrainlab.adopt.answer import Answer
from retrainlab.adopt.checkpoint import Checkpoint, Model, Network
from retrainlab.adopt.rates import Past, Rates, past
from retrainlab.adopt.running import Run, plans, retrained
from retrainlab.checks import BadInput, check_number, listed, settled
from retrainlab.config import NAMED_SCHEDULES, SGD, Prune, Recipe, Retrain
from retrainlab.data import given
from retrainlab.data.dataset import Dataset, Split
from retrainlab.data.reading import Augmentation
from retrainlab.device import lack_of_memory_told, resolve
from retrainlab.importing import OBJECT, Told
from retrainlab.models import state_dict
from retrainlab.phrases import percent, share
from retrainlab.study import seal
from retrainlab.study.making import Watch
from retrainlab.study.measured import Dense
from retrainlab.study.results import Place
from retrainlab.training import cycles
from retrainlab.training.state import Setup, State

HINT = 0.01  # share of zeros from which they are taken for those of a prune


@dataclass(frozen=True, eq=False)
class Own:
    """A network of the user's that is ready to be pruned and retrained; see `own`. `print` says what may be pruned.

    setup: network, data and optimiser. network: with the masks that are in it. past: its first training, as it was told.
    data: a hash of all inputs and labels. trained: whether it is; else each answer begins with its first training.
    """

    name: str
    setup: Setup
    network: Network
    past: Past
    data: str
    trained: bool = True

    @property
    def pruned(self) -> float:
        """The share of the prunable weights that its masks have taken away."""
        masks = self.network.masks.values()
        return 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks) if masks else 0.0

    @cached_property
    def code(self) -> str:
        """A hash of all that results depend on besides settings and data: weights, masks, learning rates, and code as far as
        its source is at hand."""
        model = self.network.model
        parts = {name: t.detach().cpu() for name, t in [*model.named_parameters(), *model.named_buffers()]}
        masks = {f"mask {name}": mask.cpu() for name, mask in self.network.masks.items()}
        tensors = parts | masks | {"learning rates": self.past.original.lr}
        text = f"{model}{layers.frozen(model)}{self.setup.prunable}"
        with suppress(OSError, TypeError):
            text += inspect.getsource(inspect.getmodule(type(model)) or type(model))
        return hashlib.sha256((text + seal.of_tensors("own", tensors)).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        words = [f"{self.name}: {layers.words(self.network.model, self._embeddings)}"]
        if self.network.masks:
            words.append(f"{share(self.pruned)} of these are pruned already (masks: {self.network.whence}).")
        elif (found := reading.zeros(self.network, self.setup.prunable)) > HINT:
            words.append(f"{percent(found)} of these are 0; if a prune has left them so, give masks='zeros'.")
        if still := [n for n in layers.frozen(self.network.model)]:
            words.append(f"Frozen or never used, so left as they are: {layers.few(still)}.")
        return " ".join(words)

    @property
    def _embeddings(self) -> bool:
        return set(layers.prunable(self.network.model)) != set(self.setup.prunable)

    @lack_of_memory_told()
    def measured(self, watch: Watch = Watch()) -> tuple["Own", Dense]:
        """The network, trained for the first time if it has not been, and what was measured of it before any prune. watch:
        what is called meanwhile. Raises BadInput if that training diverges, or is stopped."""
        dense = Run(self.setup, self.network, self.past, self.trained).dense(watch)
        if self.trained:
            return self, dense
        model = copy.deepcopy(self.setup.model)
        model.load_state_dict(state_dict(model, dense.state.params | dense.state.buffers))
        setup, network = replace(self.setup, model=model), replace(self.network, model=model)
        return replace(self, setup=setup, network=network, trained=True), dense

    def shares(self, sparsity: float) -> dict[str, float]:
        """The share of each prunable weight's numbers that a prune of the whole network by magnitude takes away."""
        state = State.of(self.setup.model, self.setup.data.device)
        prune = self._prune(sparsity)
        masks = cycles.cut(self.setup, state, prune, 0, self.past.recipe.seed, self.network.masks or None).masks
        return {name: 1 - mask.float().mean().item() for name, mask in masks.items()}

    @lack_of_memory_told()
    def advise(
        self,
        sparsity: float | Prune | None = None,
        budget: float | Sequence[float] = 0.1,
        schedules: Sequence[str] | None = None,
        seeds: int = 3,
        *,
        estimate: float | None = None,
        keep: bool = False,
        store: Place = None,
        watch: Watch | None = None,
    ) -> Answer:
        """Prune it, retrain it with each schedule, and say which to take.

        sparsity: the total share of the prunable weights that goes, or a Prune; None for a network that is pruned already.
        budget: lengths of the retraining as shares of the dense run. schedules: named ones, all if None. seeds: how many
        orders of the batches. estimate: ALLR's d1 in [0, 1], of a prune that cannot be measured any more. keep: whether the
        answer has the networks. store: see `Results.at`; what is there is not retrained, unless it is to be kept.
        watch: what is called meanwhile, in place of a line of progress; what it stops is left out.
        Raises BadInput before any work, and Stopped on Ctrl-C, with what is finished kept.
        """
        prune = self._prune(sparsity)
        budgets = [*dict.fromkeys(listed(budget, float, "advise's budget"))]
        for one in budgets:
            check_number(one, "budget (share of the dense run)", above=0)
        check_number(seeds, "number of seeds", low=1, whole=True)
        unseen = sparsity is None and not self.network.hidden
        if estimate is not None:
            check_number(estimate, "estimate of ALLR's d1", low=0, high=1)
            if not unseen:
                raise BadInput(
                    "What this prune takes of the norm is measured, so ALLR takes no estimate; leave it out."
                )
        names = [*dict.fromkeys(NAMED_SCHEDULES if schedules is None else listed(schedules, str, "advise's schedules"))]
        if not budgets or not names:
            raise BadInput("There is nothing to compare; give one budget and one schedule at least.")
        notes = [self._about_damage(unseen, estimate)] if sparsity is None else []
        if unseen and estimate is None and "ALLR" in names:
            if schedules is not None:
                raise BadInput(
                    "ALLR's d1 is what the prune took of the norm, which these weights do not tell any more (0 would be "
                    "wrong); give estimate, such as 0.79, that of Gaussian weights at 90 %, or leave ALLR out."
                )
            names.remove("ALLR")
        plan = plans(self.past.recipe, prune, [Retrain(name, one) for one in budgets for name in names], seeds)
        taken = estimate if unseen else None
        run = Run(self.setup, self.network, self.past, self.trained, adopted=sparsity is None, estimate=taken)
        table, states = retrained(run, plan, {"data": self.data, "model": self.code}, store, keep, watch)
        if table.empty:
            raise BadInput("Stopped before any retraining had ended, so there is nothing to say.")
        table["not_pruned"] = layers.uncounted(self.network.model, self._embeddings)
        networks = {
            place: state_dict(self.network.model, state.params | state.buffers) for place, state in states.items()
        }
        if lost := ", ".join(dict.fromkeys(filter(None, table["emptied"]))):
            notes.append(
                f"Nothing is left of {lost}, which no retraining brings back; remove less, or spread the loss over the "
                "layers with Prune(..., allocation='erk')."
            )
        return Answer.of(table, prune.sparsity, budgets, tuple(filter(None, notes)), networks)

    def write(self, tensors: Mapping[str, Tensor], file: str) -> str:
        """Write a state_dict of this network, such as `answer.weights()`, to a .safetensors, .pt or .pth file, or the whole
        network to an .onnx file, checked against torch (see `onnx_file`). Says what the file holds. Raises BadInput for
        tensors of another network, and for what cannot be written."""
        place = weights.place_for(file, network=True)
        model = weights.loaded(self.network.model, tensors)
        if place.suffix == ".onnx":
            return f"{place}: {weights.write_network(model, self.setup.data.test.images, place)}."
        return f"{place}: {weights.write_tensors(model.state_dict(), place)}."

    def _prune(self, sparsity: float | Prune | None) -> Prune:
        if sparsity is None:
            if not self.network.masks:
                raise BadInput(
                    "Say how much to prune, as sparsity=0.9: the network is not pruned yet, as far as can be seen."
                )
            return Prune(self.pruned)
        prune = sparsity if isinstance(sparsity, Prune) else Prune(sparsity)
        if self.network.masks and prune.targets[0] < self.pruned + (-1e-9 if self.network.hidden else 1e-9):
            raise BadInput(
                f"A sparsity of {share(prune.targets[0])} is no more than the {share(self.pruned)} that are pruned already; "
                "ask for more, or leave it out to keep the masks that are there."
            )
        return prune

    def _about_damage(self, unseen: bool, estimate: float | None) -> str:
        """What ALLR's d1 is taken from, where the prune was not made here."""
        if not unseen:
            return (
                "ALLR's d1 is measured from what the masks hide of the weights, which holds if they were not trained since "
                "the prune."
            )
        if estimate is not None:
            return f"ALLR's d1 is the estimate given, {estimate:g}: what the prune took cannot be measured any more."
        return (
            "ALLR is left out: what the prune took of the norm, its d1, cannot be known from zeros; give an estimate."
        )


def own(
    model: Model,
    train: Any,
    validation: Any,
    test: Any,
    *,
    rates: Rates | None = None,
    checkpoint: Checkpoint = None,
    masks: Any = None,
    sgd: SGD | None = None,
    batch_size: int = 64,
    embeddings: bool = False,
    name: str = "",
    device: str = "auto",
) -> Own:
    """Take in a trained network of your own.

    model: a module with its weights; or a factory of one, `package.module:factory`, or a name, as of `Recipe`, whose network
    is trained first if there is no checkpoint. train, validation, test: pairs
    (inputs, labels) of tensors, Datasets, or DataLoaders without augmentation; inputs floating, as the network takes them;
    validation and test were not trained on. rates: the dense run's learning rates (see `rates.past`). checkpoint: a
    state_dict, a .safetensors, .pt or .pth file of one, or `pretrained`. masks: see `checkpoint.masked`. sgd: of the
    retraining. embeddings: prune these, too. name: in tables; the module's class if empty.
    Raises BadInput in one sentence for what is missing or does not fit.
    """
    parts = {"training": train, "validation": validation, "test": test}
    if lacking := [part for part, given_ in parts.items() if given_ is None]:
        raise BadInput(
            f"There is no {lacking[0]} data; give some that the network was not trained on, to choose and to judge by."
        )
    source = given.source("own", train, validation, test)
    inputs, labels = zip(*(part for part in (source.train, source.validation, source.test) if part is not None))
    if inputs[0].dtype == "uint8":
        raise BadInput(
            "The inputs are bytes; give floating ones, normalised as in the training that the checkpoint comes from."
        )
    shape, least = tuple(inputs[0].shape[1:]), int(max(part.max() for part in labels)) + 1
    network = reading.read(model, checkpoint, shape, least, name or "own")
    title = settled(name, str, "The name") or type(network.model).__name__
    if not title.isidentifier():
        raise BadInput(
            f"The name {title!r} must be one word of letters, digits and underscores, as Python's names are."
        )
    classes = reading.outputs(network.model, shape, title, least)
    prunable = layers.prunable(network.model, embeddings)
    if not prunable:
        raise BadInput(f"There is nothing to prune in {title}. {layers.words(network.model, embeddings)}")
    network = reading.masked(network, masks, prunable)
    trained = isinstance(model, torch.nn.Module) or checkpoint is not None
    if network.masks and not trained:
        raise BadInput(
            "Masks are of a trained network, but a factory alone gives an untrained one; give its checkpoint."
        )
    where = resolve(device)
    splits = [
        Split(torch.from_numpy(x).to(where), torch.from_numpy(y.astype("int64")).to(where))
        for x, y in zip(inputs, labels)
    ]
    seen, chosen_on, judged_on = splits
    data = Dataset(title, seen, chosen_on, judged_on, classes, None, None, Augmentation())
    told = Recipe(data=Told(OBJECT + title), model=Told(OBJECT + title), batch_size=batch_size, augment=False)
    history = past(rates, sgd, told, data.steps_per_epoch(batch_size))
    setup = Setup(network.model.to(where), data, history.recipe.sgd, batch_size, prunable, augment=False)
    network = Network(network.model, {n: m.to(where) for n, m in network.masks.items()}, network.hidden, network.whence)
    return Own(title, setup, network, history, f"given/{given.digest(source)}", trained)
