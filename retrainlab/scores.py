"""What a weight, a filter or a neuron is worth: the table of scores, and OBD, which needs a network and images.

Scores of tensors alone are in `pruning`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, grad, vmap

from retrainlab import importing, influence, layers, obs, pruning
from retrainlab.checks import BadInput, check_number, is_reference
from retrainlab.config import Prune
from retrainlab.device import out_of_memory
from retrainlab.models import in_mode
from retrainlab.phrases import first_line
from retrainlab.pruning import Masks, Weights
from retrainlab.training.method import Tensors
from retrainlab.training.state import Setup, State

MEMORY = 256 * 2**20  # bytes that the gradients computed at once may take, about, if they are more than one


@torch.no_grad()  # torch.func differentiates all the same, and nothing else is recorded
def obd(setup: Setup, state: State, images: int = 512) -> Weights:
    """Optimal Brain Damage: h_kk w_k^2 / 2 for each weight named in `setup.prunable` (LeCun, Denker & Solla 1989).

    h_kk is the diagonal of the Hessian of the mean cross-entropy, without weight decay, in evaluation mode. images: how many
    un-augmented training images it is measured on, evenly spaced over the split (all if it has no more). Returns tensors of
    the weights' shapes, not negative. Raises BadInput for a number of images that is not whole or below 1.

    The Hessian of softmax and cross-entropy is diag(p) - p p^T = S S^T with S[:, c] = sqrt(p_c) (e_c - p), so that the
    diagonal of the Gauss-Newton matrix is the mean over images of sum_c (d S[:, c]^T scores / d w_k)^2 with S held fixed,
    whatever the labels. It is h_kk exactly if the scores are piecewise affine in every single weight, as with ReLU, pooling
    and normalisation in evaluation mode; with SiLU, GELU, LayerNorm and attention it is the Gauss-Newton
    (Levenberg-Marquardt) approximation, which the paper uses as well.
    """
    check_number(images, "number of images", low=1, whole=True)
    model, data = setup.model, setup.data
    weights = setup.weights(state)
    count = min(images, len(data.train))
    index = torch.arange(count, device=data.device) * len(data.train) // count

    def along(weights: Tensors, image: Tensor, one: Tensor) -> Tensor:
        """S[:, c]^T scores of one image; one: e_c."""
        scores = functional_call(model, (state.params | weights, state.buffers), (image[None],))[0]
        p = scores.detach().softmax(0)
        return (p @ one).sqrt() * ((one - p) @ scores)

    gradients = vmap(grad(along), in_dims=(None, 0, 0))
    curvature = {name: torch.zeros_like(w) for name, w in weights.items()}
    with in_mode(model, training=False):
        some = data.normalise(data.train.images[index[:1]])
        one = torch.eye(data.classes, device=some.device, dtype=some.dtype)
        chunk = max(1, MEMORY // _bytes(setup, state, some))
        try:
            gradients(weights, some, one[:1])
        except RuntimeError:  # the network looks at its numbers (an `if`, .item()), which vmap forbids: one by one then
            chunk = 1

            def gradients(weights: Tensors, image: Tensor, one: Tensor) -> Tensors:
                return {name: g[None] for name, g in grad(along)(weights, image[0], one[0]).items()}

        for pair in torch.arange(count * data.classes, device=data.device).split(chunk):  # (image, class), row-major
            inputs = data.normalise(data.train.images[index[pair // data.classes]])
            for name, g in gradients(weights, inputs, one[pair % data.classes]).items():
                curvature[name] += g.square().sum(0)
    return {name: curvature[name] / count * w.square() / 2 for name, w in weights.items()}


def _bytes(setup: Setup, state: State, image: Tensor) -> int:
    """The memory for the gradient of one image and class: itself and the tensors saved for the backward pass, both twice,
    since vmap copies them into other layouts."""
    kept: dict[int, Tensor] = {}  # held on to, so that no two have the same address

    def keep(tensor: Tensor) -> Tensor:
        return kept.setdefault(tensor.data_ptr(), tensor.detach())

    params = {name: p.detach().requires_grad_(name in setup.prunable) for name, p in state.params.items()}
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        functional_call(setup.model, (params, state.buffers), (image,))
    return 2 * sum(t.nbytes for t in [*kept.values(), *(state.params[name] for name in setup.prunable)])


Updater = Callable[[Masks], Weights]
"""masks -> new values of those weights that stay, by name, if they change"""

Score = Callable[[Weights, torch.Generator, Setup, State], Weights]
"""(weights, generator, setup, state) -> one number for each weight, in the weights' shapes, or for each of their rows,
shapes [rows]: the lower, the sooner it goes. The generator is on the CPU, so that every device draws the same numbers;
setup and state hold the network, its data and all its tensors."""


def _obd(weights: Weights, generator: torch.Generator, setup: Setup, state: State) -> Weights:
    found = obd(setup, state)
    return {name: found[name] for name in weights}


SCORES: dict[str, tuple[Score, Score]] = {
    "magnitude": (lambda weights, *_: pruning.magnitude(weights), lambda weights, *_: pruning.row_norm(weights)),
    "random": (
        lambda weights, generator, *_: pruning.random(weights, generator),
        lambda weights, generator, *_: pruning.random({n: w.flatten(1)[:, 0] for n, w in weights.items()}, generator),
    ),
    "obd": (_obd, lambda *args: pruning.of_rows(_obd(*args))),
    "obs": (
        lambda weights, _, setup, state: obs.scores(weights, obs.problems(setup, state)),
        lambda weights, _, setup, state: obs.row_scores(weights, obs.problems(setup, state)),
    ),
}
"""name -> (the score of weights, the score of whole rows: filters or neurons)"""


def convolutions(weights: Weights, setup: Setup | None) -> Weights:
    """The weights whose rows are filters; those of a transposed convolution are inputs."""
    return {name: w for name, w in weights.items() if w.dim() == 4 and name not in _transposed(weights, setup)}


def _transposed(weights: Weights, setup: Setup | None) -> tuple[str, ...]:
    """Names of weights of transposed convolutions; none among bare weights, of which no network is known."""
    return layers.transposed(setup.model, list(weights)) if setup else ()


def hidden(weights: Weights, setup: Setup) -> Weights:
    """The weights whose rows are hidden neurons, as `influence.hidden` finds them."""
    return {name: weights[name] for name in influence.hidden(setup.model, setup.data.shape)}


ROWS = {"filters": convolutions, "neurons": hidden}
"""structure -> (weights, setup) -> those of the weights whose rows it prunes, in their order"""


def _own(name: str) -> tuple[Score, Score]:
    """Both forms of a user's score, which is called as those of weights in SCORES are; BadInput for what is no score."""

    def of_weights(weights: Weights, *rest: Any) -> Weights:
        own = importing.called(name)
        try:
            found = own(weights, *rest)
        except Exception as error:  # whatever the user's code raises
            if out_of_memory(error):
                raise
            raise BadInput(f"The score {name} fails ({type(error).__name__}: {first_line(error)}); mend it.") from error
        shapes = {n: getattr(s, "shape", None) for n, s in found.items()} if isinstance(found, dict) else None
        if shapes != {n: w.shape for n, w in weights.items()}:
            raise BadInput(f"{name} must give a dictionary with a tensor of scores for each weight, of its shape.")
        return {n: found[n].detach() for n in weights}

    return of_weights, lambda *given: pruning.of_rows(of_weights(*given))


def score(prune: Prune, weights: Weights, generator: torch.Generator, setup: Setup, state: State) -> Weights:
    """The scores that `pruning.prune` asks for: of these prunable weights, or of the rows that the structure removes.
    Raises BadInput for n:m, which lies along inputs, in a network with transposed convolutions."""
    if prune.structure == "n:m" and (strange := _transposed(weights, setup)):
        raise BadInput(
            f"An n:m pattern lies along the inputs of one output, but the rows of {layers.few(strange)}, a transposed "
            "convolution, are inputs; choose another structure."
        )
    of_weights, of_rows = _own(prune.score) if is_reference(prune.score) else SCORES[prune.score]
    if prune.structure not in ROWS:
        return of_weights(weights, generator, setup, state)
    return of_rows(ROWS[prune.structure](weights, setup), generator, setup, state)


def _surgeon(setup: Setup, state: State) -> Updater:
    weights, found = setup.weights(state), obs.problems(setup, state)
    return lambda masks: obs.update(weights, found, masks)


UPDATES: dict[str, Callable[[Setup, State], Updater]] = {"obs": _surgeon}
"""Scores that change the weights that stay as well, and how."""


def updater(prune: Prune, setup: Setup, state: State) -> Updater:
    """What a prune of `state` makes of the weights that stay, for any masks; nothing, for most scores, nor where whole rows
    go, whose outputs no other weight of the layer can make up for."""
    if prune.score not in UPDATES or prune.structure in ROWS:
        return lambda masks: {}
    return UPDATES[prune.score](setup, state)
