"""Which weights to take away: score -> allocate -> select, three steps that know only tensors.

Weights come as a dictionary from layer name to tensor, in the order of the network's layers. A mask is a boolean tensor
of a weight's shape, True where the weight stays. The lower a score, the sooner its weight goes. Exactly round(S * N) of N
weights go; ties are broken by index (layer by layer, then row-major). Allocations and structures have their tables here,
scores in `scores`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retrainlab.checks import BadInput
from retrainlab.config import Prune

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]


def magnitude(weights: Weights) -> Weights:
    """|w| (Han et al. 2015)."""
    return {name: w.detach().abs() for name, w in weights.items()}


def random(weights: Weights, generator: torch.Generator) -> Weights:
    """Uniform in [0, 1); the generator is on the CPU, so that every device draws the same numbers."""
    return {name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()}


def row_norm(weights: Weights) -> Weights:
    """The root mean square of each filter's weights, the L2 norm of each neuron's (see `of_rows`); shapes [rows]."""
    squares = {name: w.detach().square() for name, w in weights.items()}
    return {name: total.sqrt() for name, total in of_rows(squares).items()}


def of_rows(scores: Weights) -> Weights:
    """Scores of whole rows from those of their weights: the mean over a filter's, the sum over a neuron's; shapes [rows].

    Linear layers differ more in their number of inputs, and the more inputs, the smaller each weight begins: by a mean, the
    layer with the most of them would lose nearly all its neurons first.
    """
    return {name: s.flatten(1).mean(1) if s.dim() == 4 else s.flatten(1).sum(1) for name, s in scores.items()}


def lamp(scores: Weights) -> Weights:
    """Layer-adaptive scores: a squared score over the sum of all squared scores in its layer that are not smaller; -inf
    stays (Lee et al. 2021)."""
    out = {}
    for name, score in scores.items():
        flat = score.flatten().double()
        square = torch.where(flat.isfinite(), flat.square(), 0)
        order = flat.argsort(stable=True)
        rest = square[order].flip(0).cumsum(0).flip(0)
        value = torch.zeros_like(flat)
        value[order] = square[order] / rest.clamp_min(torch.finfo(flat.dtype).tiny)
        out[name] = torch.where(flat.isfinite(), value, flat).view_as(score)
    return out


def smallest(scores: Tensor, count: int) -> Tensor:
    """Whether each score is among the `count` smallest, ties by row-major index; any shape. The host does not wait for the
    device."""
    if not 0 < count < scores.numel():
        return torch.full_like(scores, count > 0, dtype=torch.bool)
    flat = scores.flatten().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)  # NaN: of a diverged network
    threshold = flat.kthvalue(count).values
    below, ties = flat < threshold, flat == threshold
    return (below | (ties & (ties.cumsum(0) <= count - below.sum()))).view_as(scores)


def allocate_global(scores: Weights, count: int) -> dict[str, int]:
    """Remove the `count` smallest of all layers together."""
    if not scores:
        return {}
    marked = smallest(torch.cat([s.flatten() for s in scores.values()]), count)
    parts = marked.split([s.numel() for s in scores.values()])
    return {name: int(part.sum()) for name, part in zip(scores, parts)}


def allocate_uniform(scores: Weights, count: int) -> dict[str, int]:
    """The same share of every layer, rounded so that the sum is exact."""
    total = sum(s.numel() for s in scores.values())
    return _round_to({name: count * s.numel() / total for name, s in scores.items()}, count, scores)


def allocate_erk(scores: Weights, count: int) -> dict[str, int]:
    """Erdos-Renyi-kernel: a layer's density is proportional to (sum of its dimensions) / (their product). A layer for which
    that is above 1 stays dense, and the others take over the excess (Evci et al. 2020, as in their code)."""
    size = {name: s.numel() for name, s in scores.items()}
    raw = {name: sum(s.shape) / s.numel() for name, s in scores.items()}
    keep = sum(size.values()) - count
    full: set[str] = set()
    while len(full) < len(size):
        open_ = [name for name in size if name not in full]
        factor = (keep - sum(size[name] for name in full)) / sum(raw[name] * size[name] for name in open_)
        over = {name for name in open_ if factor * raw[name] > 1}
        if not over:
            break
        full |= over
    removed = {name: 0.0 if name in full else size[name] * (1 - factor * raw[name]) for name in size}
    return _round_to(removed, count, scores)


ALLOCATIONS: dict[str, Callable[[Weights, int], dict[str, int]]] = {
    "global": allocate_global,
    "uniform": allocate_uniform,
    "erk": allocate_erk,
    "lamp": lambda scores, count: allocate_global(lamp(scores), count),
}
"""(scores, how many go in all) -> how many go of each layer, those of score -inf among them."""


def _round_to(shares: dict[str, float], count: int, scores: Weights) -> dict[str, int]:
    """Whole numbers near `shares` that sum to `count`, the largest remainders rounded up. Each lies between what its layer
    has lost already (scores of -inf) and its size."""
    low = {name: int(scores[name].isneginf().sum()) for name in shares}
    high = {name: scores[name].numel() for name in shares}
    out = {name: min(max(math.floor(share + 1e-9), low[name]), high[name]) for name, share in shares.items()}
    order = sorted(shares, key=lambda n: out[n] - shares[n])
    while sum(out.values()) != count:
        step = 1 if sum(out.values()) < count else -1
        for name in order[::step]:
            if sum(out.values()) != count and low[name] <= out[name] + step <= high[name]:
                out[name] += step
    return out


def select(scores: Weights, counts: dict[str, int]) -> Masks:
    """Masks that drop the `counts[name]` smallest of each layer; layers without a count stay dense."""
    return {name: ~smallest(score, counts.get(name, 0)) for name, score in scores.items()}


def check_masks(masks: Masks, weights: Weights) -> None:
    """Raise BadInput unless `masks` has one boolean tensor for each weight, of its shape and on its device, and no other."""
    for name in sorted(masks.keys() ^ weights.keys()):
        what = "lacks a mask" if name in weights else "has a mask, but is none of the prunable ones"
        raise BadInput(
            f"The weight '{name}' {what}; give a mask for each prunable weight of this network, and no other."
        )
    for name, w in weights.items():
        mask = masks[name]
        if mask.dtype != torch.bool or mask.shape != w.shape or mask.device != w.device:
            raise BadInput(
                f"The mask of '{name}' is {tuple(mask.shape)} of {mask.dtype} on {mask.device}; it must be "
                f"{tuple(w.shape)} of {torch.bool} on {w.device}, True where a weight stays."
            )


def prune(weights: Weights, scores: Weights, prune: Prune, target: float, masks: Masks | None = None) -> Masks:
    """Masks that remove the weights (or filters, or neurons) of smallest score.

    weights: every prunable weight, in the order of the layers. scores: as `scores.score` gives them; where whole rows go, of
    the layers that have such rows. target: the total share to be removed, in [0, 1], whatever `prune.sparsity` is; not used
    for n:m. masks: those of the cycle before; what they removed stays removed. Raises BadInput if the target cannot be
    reached (the layers not kept dense are too small, more is removed already, or m divides no layer), and for masks or
    scores that are not those of these weights.
    """
    if masks is not None:
        check_masks(masks, weights)
    rows = STRUCTURES[prune.structure].rows
    shapes = {name: w.shape[:1] if rows else w.shape for name, w in weights.items() if name in scores or not rows}
    if {name: s.shape for name, s in scores.items()} != shapes:
        raise BadInput("The scores are not those of these weights; give one tensor for each, as `scores.score` does.")
    start = masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    left = {name: m.flatten(1).any(1) if rows else m for name, m in start.items()}
    marked = {name: s.masked_fill(~left[name], -torch.inf) for name, s in scores.items()}
    return start | STRUCTURES[prune.structure].keep(marked, start, prune, target)


def kept_dense(prune: Prune, names: list[str]) -> tuple[str, ...]:
    """Names of the layers that stay whole, of all layers in their order."""
    return (*names[: prune.keep_first], *names[len(names) - prune.keep_last :])


def _open(scores: Weights, start: Masks, prune: Prune) -> Weights:
    """The scores of the layers that are not kept dense."""
    dense = kept_dense(prune, list(start))
    return {name: s for name, s in scores.items() if name not in dense}


def _check_count(count: int, scores: Weights, start: Masks, prune: Prune, target: float) -> None:
    """Raise BadInput unless `count` weights (or rows, of which each layer keeps one) can go, and no fewer than are gone
    already."""
    kept = int(STRUCTURES[prune.structure].rows)
    most = sum(s.numel() - kept for s in scores.values())
    gone = sum(int(s.isneginf().sum()) for s in scores.values())
    if not gone <= count <= most:
        dense, what = ", ".join(kept_dense(prune, list(start))), prune.structure if kept else "weights"
        raise BadInput(
            f"A sparsity of {target:g} removes {count} {what}, but it must be at least {gone} "
            f"(gone already) and at most {most}{f' with {dense} kept dense' if dense else ''}"
            f"{'; every layer keeps one' if kept else ''}; ask for another sparsity."
        )


def keep_weights(scores: Weights, start: Masks, prune: Prune, target: float) -> Masks:
    """Single weights: drop round(target * N) of all N, the layers kept dense counted into N."""
    count, open_ = round(target * sum(s.numel() for s in scores.values())), _open(scores, start, prune)
    _check_count(count, open_, start, prune, target)
    return select(open_, ALLOCATIONS[prune.allocation](open_, count))


def keep_rows(scores: Weights, start: Masks, prune: Prune, target: float) -> Masks:
    """Whole filters or neurons: drop round(target * R) of the R rows of all layers in `scores` (Li et al. 2017).

    Every layer keeps at least one. Raises BadInput if that leaves too few to remove, or if no layer has such rows.
    """
    if not scores:
        owners = {"filters": "convolutions", "neurons": "hidden Linear layers"}[prune.structure]
        raise BadInput(
            f"This network has no {prune.structure} to prune, for want of {owners}; choose another structure."
        )
    count, open_ = round(target * sum(len(s) for s in scores.values())), _open(scores, start, prune)
    _check_count(count, open_, start, prune, target)
    best = {name: int(s.argmax()) for name, s in open_.items()}
    others = {name: torch.cat([s[: best[name]], s[best[name] + 1 :]]) for name, s in open_.items()}
    keep = select(open_, ALLOCATIONS[prune.allocation](others, count))
    return {n: k.view(-1, *[1] * (start[n].dim() - 1)).expand_as(start[n]).clone() for n, k in keep.items()}


def keep_n_of_m(scores: Weights, start: Masks, prune: Prune, target: float) -> Masks:
    """Patterns: keep the n largest of each m neighbours along a layer's inputs (Mishra et al. 2021; Pool & Yu 2021).

    Neighbours are inputs of a Linear layer; in a convolution, as in NVIDIA's ASP, input channels at one kernel position.
    Layers of `undivided` stay dense, and the sparsity reached is less than 1 - n/m. Raises BadInput if no layer is left.
    """
    n, m, open_ = prune.n, prune.m, _open(scores, start, prune)
    divided = {name: s for name, s in open_.items() if name not in undivided(open_, m)}
    if not divided:
        sizes = sorted({s.shape[1] for s in open_.values()})
        none = f"{m} divides the inputs of no layer ({', '.join(map(str, sizes))})" if sizes else "all are kept dense"
        raise BadInput(
            f"Keeping {n} of each {m} weights would prune no layer: {none}; choose another m or another structure."
        )
    masks = {}
    for name, s in divided.items():
        groups = s.movedim(1, -1).unflatten(-1, (-1, m))
        drop = groups.argsort(dim=-1, stable=True)[..., : m - n]
        keep = torch.ones_like(groups, dtype=torch.bool).scatter_(-1, drop, False)
        masks[name] = keep.flatten(-2).movedim(-1, 1).contiguous() & start[name]
    return masks


def undivided(weights: Mapping[str, Tensor], m: int) -> tuple[str, ...]:
    """Names of the weights whose inputs (input channels of one group, in a convolution) are no multiple of m."""
    return tuple(name for name, w in weights.items() if w.shape[1] % m)


@dataclass(frozen=True)
class Structure:
    """What is pruned as one.

    keep: (scores, -inf where already removed; masks of all layers so far; settings; total share to be removed) -> masks of
    the layers that it prunes. rows: whether scores are of whole rows of a weight: filters of a convolution, or neurons.
    """

    keep: Callable[[Weights, Masks, Prune, float], Masks]
    rows: bool = False


STRUCTURES = {
    "unstructured": Structure(keep_weights),
    "filters": Structure(keep_rows, rows=True),
    "neurons": Structure(keep_rows, rows=True),
    "n:m": Structure(keep_n_of_m),
}
