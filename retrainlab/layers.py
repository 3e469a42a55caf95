"""Which weights of a network pruning may touch, and which it leaves alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from retrainlab.checks import shortened

_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_EMBEDDINGS = nn.Embedding | nn.EmbeddingBag
_PRUNED = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | _TRANSPOSED
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # of nn.MultiheadAttention
_OTHER_LAYERS: dict[str, Any] = {
    "embeddings": _EMBEDDINGS,
    "bilinear layers": nn.Bilinear,
    "recurrent layers": nn.RNNBase | nn.RNNCellBase,
}
_PARTS = ("weight_g", "weight_v", "weight_orig")  # of which torch's older hooks make a weight
FROZEN, PARAMETRIZED = "frozen parameters", "parametrized weights"


def prunable(model: nn.Module, embeddings: bool = False) -> tuple[str, ...]:
    """Names of the weights that pruning may touch, in the order of the modules: those of convolutions, also transposed, of
    Linear layers, and of the projections in torch's attention; with `embeddings` those as well. A weight that layers share
    is named once, and one that is frozen (`requires_grad` False) not at all."""
    also = "embeddings" if embeddings else None
    return tuple(name for name, kind, _ in _matrices(model) if kind in (None, also))


def frozen(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that are not to be trained: those whose `requires_grad` is False."""
    return tuple(name for name, p in model.named_parameters() if not p.requires_grad)


def filters(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Those of these weights whose rows are filters: of convolutions in two dimensions."""
    return tuple(name for name in names if isinstance(_owner(model, name), nn.Conv2d))


def transposed(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Those of these weights that are of transposed convolutions, whose rows are inputs."""
    return tuple(name for name in names if isinstance(_owner(model, name), _TRANSPOSED))


@dataclass(frozen=True)
class Unpruned:
    """Weights of one kind that pruning leaves alone and whose multiply-adds are not counted. kind: in words, such as
    `embeddings`. share: their share of all the network's parameters of two or more dimensions."""

    kind: str
    names: tuple[str, ...]
    share: float


def unpruned(model: nn.Module, embeddings: bool = False) -> tuple[Unpruned, ...]:
    """The network's other parameters of two or more dimensions, by kind; none in our own networks."""
    own = prunable(model, embeddings)
    every = list(_matrices(model))
    total = sum(size for _, _, size in every)
    parts = {
        kind: [(name, size) for name, k, size in every if k == kind]
        for name, kind, _ in every
        if kind and name not in own
    }
    return tuple(Unpruned(k, tuple(n for n, _ in some), sum(s for _, s in some) / total) for k, some in parts.items())


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _matrices(model: nn.Module) -> Iterator[tuple[str, str | None, int]]:
    """(name, kind, size) of each parameter of two or more dimensions; the kind is None where it can be pruned."""
    modules = dict(model.named_modules())
    for name, p in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        layer = modules[owner]
        if p.dim() < 2:
            continue
        pruned = _PRUNED if leaf == "weight" else nn.MultiheadAttention if leaf in _PROJECTIONS else ()
        kind: str | None = "other parameters"
        if not p.requires_grad:
            kind = FROZEN
        elif ".parametrizations." in f".{name}" or leaf in _PARTS:
            kind = PARAMETRIZED
        elif isinstance(layer, pruned):
            kind = None
        else:
            kind = next((words for words, types in _OTHER_LAYERS.items() if isinstance(layer, types)), kind)
        yield name, kind, p.numel()


def uncounted(model: nn.Module, embeddings: bool = False) -> str:
    """What of the network is neither pruned nor counted, in a sentence; empty if nothing."""
    parts = [f"{u.kind} ({few(u.names)}), {100 * u.share:.2g} % of all weights" for u in unpruned(model, embeddings)]
    if any("Attention" in type(m).__name__ for m in model.modules()):  # torchvision has several of its own
        parts.append("the products within attention (QK^T and AV), which have no weights")
    return f"Neither pruned nor counted: {'; '.join(parts)}." if parts else ""


def words(model: nn.Module, embeddings: bool = False) -> str:
    """What share of all the network's parameters may be pruned, and what is left out, in one or two sentences."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    own = prunable(model, embeddings)
    share, total = sum(sizes[name] for name in own) / sum(sizes.values()), sum(sizes.values())
    many = f"{len(own)} layer{'s' * (len(own) != 1)}"
    text = f"Pruning may take weights of {many}, {100 * share:.3g} % of all {total:,} parameters."
    return f"{text} {uncounted(model, embeddings)}".strip()


def few(names: Sequence[str]) -> str:
    """Names in a sentence: if there are more than four, the last parts of them, or four and how many more."""
    ends = dict.fromkeys(name.rpartition(".")[2] for name in names)
    if len(names) > 4 and len(ends) <= 4 and "weight" not in ends:
        names = tuple(ends)
    return shortened(names, 4)
