"""Which weights to take away: score -> allocate -> select, three steps that know only tensors.

Weights come as a dictionary from layer name to tensor, in the order of the network's layers. A mask is a boolean tensor
of a weight's shape, True where the weight stays. Counts are exact: of N weights, round(S * N) go; ties are broken by
index (layer by layer, then row-major), so that no more and no fewer are removed.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from retrainlab.checks import BadInput, choose
from retrainlab.config import ALLOCATIONS, SCORES, STRUCTURES

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]

# ---- score: the lower, the sooner removed ----------------------------------------------------------------------------


def magnitude(weights: Weights) -> Weights:
    """|w| (Han et al. 2015)."""
    return {name: w.detach().abs() for name, w in weights.items()}


def random(weights: Weights, generator: torch.Generator) -> Weights:
    """Uniform in [0, 1): the control that knows nothing. `generator` is a CPU generator, so every device agrees."""
    return {name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()}


def lamp(scores: Weights) -> Weights:
    """Layer-adaptive: a squared score over the sum of all squared scores in its layer that are not smaller.

    Ranked globally, these give LAMP's allocation (Lee et al. 2021). Scores of -inf (already removed) stay -inf.
    """
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


# ---- allocate: how many of each layer go -----------------------------------------------------------------------------


def smallest(scores: Tensor, count: int) -> Tensor:
    """A boolean tensor that marks exactly the `count` smallest of `scores`, ties by row-major index; any shape. The host
    reads nothing, so that it can be part of every training step."""
    flat = scores.flatten().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)  # a diverged network's
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= flat.numel():
        return torch.ones_like(scores, dtype=torch.bool)
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
    """Erdos-Renyi-kernel: a layer's density is proportional to (sum of its dimensions) / (their product).

    Where that asks for a density above 1 the layer stays dense and the others take over the excess, so that
    sum(density * size) is the target (Evci et al. 2020, with the redistribution of their code).
    """
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


def _round_to(shares: dict[str, float], count: int, scores: Weights) -> dict[str, int]:
    """Whole numbers near `shares` that sum to `count`: the largest remainders are rounded up.

    Each lies between what its layer has lost already (scores of -inf) and its size, so that nothing comes back.
    """
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


# ---- select: which ones ----------------------------------------------------------------------------------------------


def select(scores: Weights, counts: dict[str, int]) -> Masks:
    """Masks that drop the `counts[name]` smallest of each layer; layers without a count stay dense."""
    return {name: ~smallest(score, counts.get(name, 0)) for name, score in scores.items()}


# ---- masks from elsewhere ----------------------------------------------------------------------------------------------


def check_masks(masks: Masks, weights: Weights) -> None:
    """Raise BadInput unless `masks` has a boolean tensor for each of `weights`, of its shape and on its device, and nothing
    else."""
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


# ---- the three together ----------------------------------------------------------------------------------------------


def prune(
    weights: Weights,
    sparsity: float,
    *,
    score: str = "magnitude",
    allocation: str = "global",
    structure: str = "unstructured",
    masks: Masks | None = None,
    generator: torch.Generator | None = None,
    scores: Weights | None = None,
    dense: tuple[str, ...] = (),
    n: int = 2,
    m: int = 4,
) -> Masks:
    """Masks after which `sparsity`, a share of ALL prunable weights, is zero; what `masks` removed stays removed.

    weights: every prunable weight. dense: names of layers that stay whole; the total then comes from the others.
    generator: for the random score; scores: for one that tensors alone do not tell (`obd`, from `saliency`). For
    `filters` and `n:m` see `prune_filters` and `prune_n_of_m`. Raises BadInput for an unknown name, or if the total
    cannot be reached: the other layers are too small for it, more than that is gone already, or m divides no layer; and
    for masks that are not those of these weights.
    """
    if masks is not None:
        check_masks(masks, weights)
    choose(score, SCORES, "pruning score")
    choose(allocation, ALLOCATIONS, "allocation")
    choose(structure, STRUCTURES, "structure")
    if (score == "obd") != (scores is not None):
        raise BadInput("The score 'obd' needs the saliencies that saliency.obd computes, and no other score takes any.")
    if structure == "filters":
        filters = filter_scores(weights, score, generator, scores)
        return prune_filters(weights, filters, sparsity, allocation, dense, masks)
    if scores is None:
        scores = random(weights, generator) if score == "random" else magnitude(weights)
    start = masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    if structure == "n:m":
        alive = {name: s.masked_fill(~start[name], -torch.inf) for name, s in scores.items()}
        return {name: keep & start[name] for name, keep in prune_n_of_m(alive, n, m, dense).items()}
    scores = {name: s.masked_fill(~start[name], -torch.inf) for name, s in scores.items() if name not in dense}
    count = round(sparsity * sum(w.numel() for w in weights.values()))
    _check_count(count, scores, "weights", sparsity, dense)
    if allocation == "lamp":
        scores = lamp(scores)
    return start | select(scores, _allocate(allocation)(scores, count))


def _allocate(allocation: str) -> Callable[[Weights, int], dict[str, int]]:
    """LAMP ranks globally, by its own scores."""
    return {"uniform": allocate_uniform, "erk": allocate_erk}.get(allocation, allocate_global)


def _check_count(
    count: int, scores: Weights, what: str, sparsity: float, dense: tuple[str, ...], kept: int = 0
) -> None:
    """Raise BadInput unless `count` units can go: no fewer than are gone already, and `kept` of each layer stay."""
    most = sum(s.numel() - kept for s in scores.values())
    gone = sum(int(s.isneginf().sum()) for s in scores.values())
    if not gone <= count <= most:
        whole = f" with {', '.join(dense)} kept dense" if dense else ""
        one = "; every layer keeps one" if kept else ""
        raise BadInput(
            f"A sparsity of {sparsity:g} removes {count} {what}, but it must be at least {gone} (gone already) and at "
            f"most {most}{whole}{one}; ask for another sparsity."
        )


def filter_scores(
    weights: Weights, score: str, generator: torch.Generator | None, scores: Weights | None = None
) -> Weights:
    """One score per convolution filter (output channel of a 4-D weight), shape [filters]: the mean of its `scores`,
    random, or the L2 norm over the square root of its size, so that layers of different fan-in are comparable."""
    conv = {name: w for name, w in weights.items() if w.dim() == 4}
    if scores is not None:
        return {name: scores[name].flatten(1).mean(1) for name in conv}
    if score == "random":
        return random({name: w[:, 0, 0, 0] for name, w in conv.items()}, generator)
    return {name: w.detach().flatten(1).square().mean(1).sqrt() for name, w in conv.items()}


def prune_filters(
    weights: Weights,
    scores: Weights,
    sparsity: float,
    allocation: str,
    dense: tuple[str, ...] = (),
    masks: Masks | None = None,
) -> Masks:
    """Drop round(sparsity * F) of all F convolution filters, those of smallest score (Li et al. 2017).

    scores: from `filter_scores`. Linear layers stay whole (a row of the last one is a class), and every layer keeps at
    least one filter. Raises BadInput if that leaves too few to remove, or if there is no convolution.
    """
    if not scores:
        raise BadInput("This network has no filters to prune, for want of convolutions; choose another structure.")
    count = round(sparsity * sum(s.numel() for s in scores.values()))
    start = masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    open_ = {
        name: s.masked_fill(~start[name].flatten(1).any(1), -torch.inf)
        for name, s in scores.items()
        if name not in dense
    }
    _check_count(count, open_, "filters", sparsity, dense, kept=1)
    best = {name: int(s.argmax()) for name, s in open_.items()}
    others = {name: torch.cat([s[: best[name]], s[best[name] + 1 :]]) for name, s in open_.items()}
    keep = select(open_, _allocate(allocation)(others, count))
    return start | {name: k.view(-1, 1, 1, 1).expand_as(weights[name]).clone() for name, k in keep.items()}


def prune_n_of_m(scores: Weights, n: int, m: int, dense: tuple[str, ...] = ()) -> Masks:
    """Keep the n largest of each m neighbours along a layer's inputs (Mishra et al. 2021; Pool & Yu 2021).

    Neighbours are what hardware multiplies together: inputs of a Linear layer; in a convolution input channels at one
    kernel position, as in NVIDIA's ASP, not kernel positions. Layers of `undivided` stay dense, so that the sparsity
    reached is less than 1 - n/m by their share. Raises BadInput if no layer is left.
    """
    whole = {*dense, *undivided(scores, m)}
    if whole.issuperset(scores):
        sizes = sorted({s.shape[1] for name, s in scores.items() if name not in dense})
        none = f"{m} divides the inputs of no layer ({', '.join(map(str, sizes))})" if sizes else "all are kept dense"
        raise BadInput(
            f"Keeping {n} of each {m} weights would prune no layer: {none}; choose another m or another structure."
        )
    masks = {}
    for name, s in scores.items():
        masks[name] = torch.ones_like(s, dtype=torch.bool)
        if name not in whole:
            groups = s.movedim(1, -1).unflatten(-1, (-1, m))
            drop = groups.argsort(dim=-1, stable=True)[..., : m - n]
            keep = torch.ones_like(groups, dtype=torch.bool).scatter_(-1, drop, False)
            masks[name] = keep.flatten(-2).movedim(-1, 1).contiguous()
    return masks


def undivided(weights: Weights, m: int) -> tuple[str, ...]:
    """Names of the weights whose inputs (input channels of one group, in a convolution) are no multiple of m."""
    return tuple(name for name, w in weights.items() if w.shape[1] % m)
