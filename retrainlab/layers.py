"""Which weights of a network pruning may touch, and which it leaves alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from retrainlab.checks import shortened

_PRUNED = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # of nn.MultiheadAttention
_OTHER_LAYERS = {
    "transposed convolutions": nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    "embeddings": nn.Embedding | nn.EmbeddingBag,
    "bilinear layers": nn.Bilinear,
    "recurrent layers": nn.RNNBase | nn.RNNCellBase,
}


def prunable(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights that pruning may touch, in the order of the modules: those of convolutions, of Linear layers, and
    of the projections in torch's attention. A weight that layers share is named once."""
    return tuple(name for name, kind, _ in _matrices(model) if kind is None)


@dataclass(frozen=True)
class Unpruned:
    """Weights of one kind that pruning leaves alone and whose multiply-adds are not counted. kind: in words, such as
    `embeddings`. share: their share of all the network's parameters of two or more dimensions."""

    kind: str
    names: tuple[str, ...]
    share: float


def unpruned(model: nn.Module) -> tuple[Unpruned, ...]:
    """The network's other parameters of two or more dimensions, by kind; none in our own networks."""
    every = list(_matrices(model))
    total = sum(size for _, _, size in every)
    parts = {kind: [(name, size) for name, k, size in every if k == kind] for _, kind, _ in every if kind}
    return tuple(Unpruned(k, tuple(n for n, _ in own), sum(s for _, s in own) / total) for k, own in parts.items())


def _matrices(model: nn.Module) -> Iterator[tuple[str, str | None, int]]:
    """(name, kind, size) of each parameter of two or more dimensions; the kind is None where it can be pruned."""
    modules = dict(model.named_modules())
    for name, p in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        layer = modules[owner]
        pruned = _PRUNED if leaf == "weight" else nn.MultiheadAttention if leaf in _PROJECTIONS else ()
        if p.dim() > 1:
            kinds = (kind for kind, types in _OTHER_LAYERS.items() if isinstance(layer, types))
            yield name, None if isinstance(layer, pruned) else next(kinds, "other parameters"), p.numel()


def uncounted(model: nn.Module) -> str:
    """What of the network is neither pruned nor counted, in a sentence; empty if nothing."""
    parts = [f"{u.kind} ({few(u.names)}), {100 * u.share:.2g} % of all weights" for u in unpruned(model)]
    if any("Attention" in type(m).__name__ for m in model.modules()):  # torchvision has several of its own
        parts.append("the products within attention (QK^T and AV), which have no weights")
    return f"Neither pruned nor counted: {'; '.join(parts)}." if parts else ""


def few(names: Sequence[str]) -> str:
    """Names in a sentence: if there are more than four, the last parts of them, or four and how many more."""
    ends = dict.fromkeys(name.rpartition(".")[2] for name in names)
    if len(names) > 4 and len(ends) <= 4 and "weight" not in ends:
        names = tuple(ends)
    return shortened(names, 4)
