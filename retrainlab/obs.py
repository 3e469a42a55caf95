"""Optimal Brain Surgeon, layer by layer: which weight costs least, and what the others become without it.

Hassibi & Stork 1993, for the least-squares problem of each layer as in Optimal Brain Compression (Frantar & Alistarh 2022).
With vectors x that a row w of weights is multiplied with, 1/2 E|(w + d)x - wx|^2 = 1/2 d H d^T with the Hessian
H = E[x x^T], the same for all rows of a layer. E: the mean over training images of the sum over the positions of the layer's
output. All in float64, on the network's device (on the CPU for a device that lacks it).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from retrainlab.checks import BadInput, check_number
from retrainlab.models import in_mode
from retrainlab.products import Product, Products
from retrainlab.pruning import Masks, Weights
from retrainlab.training.state import Setup, State

DAMPING = 0.01  # added to the Hessian's diagonal, as a share of its mean
NOTHING = 1e-100  # whose square and inverse are numbers, too
BLOCK = 64  # weights that are taken before the inverses are brought up to date
MEMORY = 2**29  # bytes for the inverses of the rows that are worked on at once, about


@dataclass(frozen=True)
class Problem:
    """A least-squares problem that rows of a weight share.

    rows: which of the weight's rows. hessians: float64 [groups, inputs, inputs]; of a grouped convolution, each group of its
    filters has its own, else there is one.
    """

    rows: slice
    hessians: Tensor

    def per_row(self, matrices: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the weight's rows, so few that their matrices fit into memory, with a copy of the matrix of each of
        those rows, [rows, inputs, inputs]. matrices: one for each group."""
        count = self.rows.stop - self.rows.start
        group = torch.arange(count, device=matrices.device) * len(matrices) // count
        few = max(1, room(matrices.device) // matrices[0].nbytes)
        for start in range(0, count, few):
            own = group[start : start + few]
            first = self.rows.start + start
            yield slice(first, first + len(own)), matrices[own]


Problems = Mapping[str, Sequence[Problem]]
"""The problems of each weight, by its name; none for a weight that is not used."""


def room(device: torch.device) -> int:
    """Bytes that the inverses of the rows that are worked on at once may take."""
    return max(MEMORY, torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 0)


def exact(tensor: Tensor) -> Tensor:
    """The tensor in float64, on its device or, where that knows no float64, on the CPU."""
    return tensor.detach().to("cpu" if tensor.device.type == "mps" else tensor.device, torch.float64)


def _beside(weight: Tensor, found: Tensor) -> Tensor:
    """`found` in float64 where the weight is, or in the weight's precision if its device has no float64."""
    return found if found.device == weight.device else found.to(weight)


def work(weights: Weights) -> float:
    """How many products and sums the scores of these weights take, about: 2/3 n^3 for a row of n weights."""
    return sum(2 / 3 * len(w) * w[0].numel() ** 3 for w in weights.values())


def check(setup: Setup, state: State) -> None:
    """Raise BadInput if the network's output depends on a prunable weight of which `products` sees no product."""
    model, image = setup.model, setup.data.normalise(setup.data.train.images[:1])
    own = {name: state.params[name].detach().requires_grad_() for name in setup.prunable}
    seen: set[str] = set()
    with torch.enable_grad(), in_mode(model, training=False):
        with Products(own, lambda product: seen.add(product.name) if product.vectors else None):
            out = functional_call(model, (state.params | own, state.buffers), (image,))
        rest = {name: w for name, w in own.items() if name not in seen}
        use = rest and out.requires_grad
        gradients = torch.autograd.grad(out.sum(), list(rest.values()), allow_unused=True) if use else ()
    for name, gradient in zip(rest, gradients):
        if gradient is not None:
            raise BadInput(
                f"Optimal Brain Surgeon cannot tell what '{name}' is multiplied with, for the network does not hand it to "
                "an ordinary convolution, a linear function or torch's attention as it is; choose another score."
            )


@torch.no_grad()
def problems(setup: Setup, state: State, images: int = 512) -> Problems:
    """The problems of each weight in `setup.prunable`, in evaluation mode.

    images: how many un-augmented training images the mean is over, evenly spaced over the split (all if it has no more).
    Raises BadInput for a number of images that is not whole or below 1, for inputs of a layer that are not finite, and for
    a weight that is used in another way than `products` knows.
    """
    check_number(images, "number of images", low=1, whole=True)
    check(setup, state)
    model, data = setup.model, setup.data
    count = min(images, len(data.train))
    index = torch.arange(count, device=data.device) * len(data.train) // count
    sums: dict[tuple[str, int, int], Tensor] = {}
    largest = 1

    def measure(product: Product) -> None:
        nonlocal largest
        largest = max(largest, 8 * product.count * state.params[product.name][0].numel())

    def add(product: Product) -> None:
        if product.name in setup.prunable and product.vectors:
            x, key = exact(product.vectors()), (product.name, product.rows.start, product.rows.stop)
            sums[key] = sums.get(key, 0) + x.mT @ x

    def see(some: Tensor, each: Callable[[Product], None]) -> None:
        with Products(state.params, each):
            functional_call(model, (state.params, state.buffers), (data.normalise(data.train.images[some]),))

    with in_mode(model, training=False):
        see(index[:1], measure)
        for some in index.split(max(1, MEMORY // largest)):
            see(some, add)
    found: dict[str, list[Problem]] = {name: [] for name in setup.prunable}
    for (name, start, stop), total in sums.items():
        if not total.isfinite().all():
            raise BadInput(
                f"Optimal Brain Surgeon needs finite numbers, but the inputs of '{name}' are not; train the network with a "
                "smaller learning rate, or choose another score."
            )
        found[name].append(Problem(slice(start, stop), _damped(total / count)))
    return found


def _damped(hessians: Tensor) -> Tensor:
    """With DAMPING of the mean of its diagonal on each Hessian's diagonal, so that all can be inverted; NOTHING
    if that is 0: where no input is ever on, weights cost next to nothing."""
    mean = hessians.diagonal(dim1=-2, dim2=-1).mean(-1)
    more = (DAMPING * mean).where(mean > 0, NOTHING)
    return hessians + torch.diag_embed(more[:, None].expand(-1, hessians.shape[-1]))


def costs(weights: Tensor, inverses: Tensor) -> Tensor:
    """What it costs to take each weight when its turn comes: at each turn, of every row on its own, the weight q of smallest
    L_q = w_q^2 / (2 [H^-1]_qq) goes, the others of the row are updated, and H^-1 becomes that of the weights that are left.

    weights: float64 [rows, inputs]. inverses: H^-1 for each row, [rows, inputs, inputs], which is overwritten. Returns
    float64 [rows, inputs]: the largest L_q so far, and above the one before by a rounding at least, so that the smallest of
    all rows, however many, are those that would go if the cheapest of all rows were taken each time.

    The update of H^-1 is a step of Gaussian elimination (Frantar & Alistarh 2022, lemma 1). The steps of a block of weights
    are kept as factors and subtracted together, which is one product of matrices.
    """
    rows, inputs = weights.shape
    each = torch.arange(rows, device=weights.device)
    out, last = torch.empty_like(weights), weights.new_zeros(rows)
    left = torch.arange(inputs, device=weights.device).expand(rows, -1)  # the weights that are left, by their numbers
    w, inverse = weights.clone(), inverses
    while left.shape[1]:
        steps = min(BLOCK, left.shape[1])
        diagonal, gone = inverse.diagonal(dim1=1, dim2=2).clone(), torch.zeros_like(w, dtype=torch.bool)
        factors = w.new_zeros(rows, steps, left.shape[1])
        for i in range(steps):
            cost = (w.square() / (2 * diagonal)).masked_fill(gone, torch.inf)
            q = cost.argmin(1)
            column = inverse[each, q] - (factors[:, :i].mT @ factors[each, :i, q][..., None])[..., 0]
            factors[:, i] = factor = column / column[each, q].sqrt()[:, None]
            last = torch.maximum(cost[each, q], last.nextafter(last.new_tensor(torch.inf)))
            out[each, left[each, q]] = last
            w -= factor * (w[each, q] / factor[each, q])[:, None]
            w[each, q] = 0
            diagonal -= factor.square()
            gone[each, q] = True
        inverse = inverse.baddbmm_(factors.mT, factors, alpha=-1)
        stay = gone.to(torch.int8).argsort(dim=1, stable=True)[:, : left.shape[1] - steps]
        left, w = left.gather(1, stay), w.gather(1, stay)
        inverse = inverse[each[:, None, None], stay[:, :, None], stay[:, None, :]]
    return out


def updated(weights: Tensor, masks: Tensor, hessians: Tensor) -> Tensor:
    """The weights that stay, changed so that the layer's outputs change least; the others are 0.

    With R the weights that stay, H_RR w'_R = (H w)_R: what one update after the other (see `costs`) comes to, in any order.
    weights: float64 [rows, inputs]. masks: of that shape, True where a weight stays. hessians: of each row.
    """
    most = int(masks.sum(1).max())
    places = masks.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # those that stay come first
    real = masks.gather(1, places)
    each = torch.arange(len(weights), device=weights.device)[:, None, None]
    rest = hessians[each, places[:, :, None], places[:, None, :]]
    rest = rest.where(real[:, :, None] & real[:, None, :], 0) + torch.diag_embed((~real).to(rest.dtype))
    wanted = (hessians @ weights[..., None])[..., 0].gather(1, places).where(real, 0)
    solved = torch.cholesky_solve(wanted[..., None], torch.linalg.cholesky(rest))[..., 0]
    return torch.zeros_like(weights).scatter(1, places, solved)


@torch.no_grad()
def scores(weights: Weights, found: Problems) -> Weights:
    """The cost of each weight when its turn comes (see `costs`), in the weights' shapes; 0 for weights that are not used."""
    out = {}
    for name, weight in weights.items():
        w = exact(weight).flatten(1)
        cost = torch.zeros_like(w)
        for problem in found[name]:
            inverses = torch.cholesky_inverse(torch.linalg.cholesky(problem.hessians))
            for rows, inverse in problem.per_row(inverses):
                cost[rows] = costs(w[rows], inverse)
        out[name] = _beside(weight, cost.view_as(weight))
    return out


@torch.no_grad()
def row_scores(weights: Weights, found: Problems) -> Weights:
    """The cost of each whole row (a filter, a neuron), 1/2 w H w^T, of shapes [rows]: what its weights cost, one after the
    other, in any order."""
    out = {}
    for name, weight in weights.items():
        w = exact(weight).flatten(1)
        cost = w.new_zeros(len(w))
        for problem in found[name]:
            for rows, hessians in problem.per_row(problem.hessians):
                cost[rows] = torch.einsum("ri,rij,rj->r", w[rows], hessians, w[rows]) / 2
        out[name] = _beside(weight, cost)
    return out


@torch.no_grad()
def update(weights: Weights, found: Problems, masks: Masks) -> Weights:
    """The weights under `masks`, those that stay updated (see `updated`), in their own precision; only of layers that are
    used and lose some weights of a row, but not all."""
    out = {}
    for name, weight in weights.items():
        w = exact(weight).flatten(1)
        mask = masks[name].flatten(1).to(w.device)
        after = w.where(mask, 0)
        if found[name] and not torch.equal(mask.any(1), mask.all(1)):
            for problem in found[name]:
                for rows, hessians in problem.per_row(problem.hessians):
                    after[rows] = updated(w[rows], mask[rows], hessians)
            out[name] = after.view_as(weight).to(weight)
    return out
