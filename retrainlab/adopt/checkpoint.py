"""A trained network of the user's: its module, its weights, and the masks that are in it already; made plain."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from retrainlab import given, libraries
from retrainlab.checks import REFERENCE, BadInput, choose, is_reference, shortened
from retrainlab.config import LIBRARIES, MODELS
from retrainlab.data.given import numbers
from retrainlab.models import build, check
from retrainlab.noise import Seeded, stream
from retrainlab.phrases import listed
from retrainlab.pruning import Masks, check_masks
from retrainlab.weights import read_weights

Model = nn.Module | Callable[..., nn.Module] | str
Checkpoint = Mapping[str, Tensor] | Path | str | None
PRETRAINED = "pretrained"
WRAPPED = ("module.", "_orig_mod.")  # before the names in the state_dict of DataParallel, and of torch.compile
HOLDERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, eq=False)
class Network:
    """A plain module and its masks, empty if it is not pruned. hidden: whether the module still holds most of what the
    masks take away; else that is 0. whence: where the masks come from, in words."""

    model: nn.Module
    masks: Masks
    hidden: bool = False
    whence: str = ""


def read(model: Model, checkpoint: Checkpoint, shape: tuple[int, ...], classes: int, name: str) -> Network:
    """The network on the CPU, a copy. model: a module, a factory (see `given.called`), a reference, or a name, of the kit's,
    torchvision/NAME or timm/NAME. checkpoint: a state_dict or a file of one; `pretrained` for the one of a name, if it is on
    disk; None for what the module holds. shape: of one input. Raises BadInput, in one sentence, for what cannot
    be trained here."""
    if isinstance(model, str) and checkpoint == PRETRAINED:
        if not libraries.is_theirs(model):
            raise BadInput(
                f"Only networks of {listed(LIBRARIES)} have 'pretrained' weights; {model!r} needs a checkpoint."
            )
        plain, masks = libraries.trained(model), Masks()
    else:
        plain, masks = _plain(_module(model, shape, classes, name))
        if checkpoint is not None:
            masks = _load(plain, _tensors(checkpoint), masks)
    plain = given.settled(plain, name, shape)
    if not masks:
        return Network(plain, {})
    return Network(plain, masks, _hidden(dict(plain.named_parameters()), masks), "torch.nn.utils.prune")


def masked(network: Network, masks: Mapping[str, Tensor] | str | None, prunable: tuple[str, ...]) -> Network:
    """The network with the masks that its user names: `zeros` for all weights that are 0, tensors by name (0 or False where
    a weight is gone), or None for those that are in it. Weights without a mask stay whole.

    Raises BadInput for a name that is no prunable weight's, a mask of another shape, and zeros where there are none.
    """
    weights = {name: network.model.get_parameter(name).detach() for name in prunable}
    if isinstance(masks, str):
        choose(masks, ["zeros"], "kind of masks", "or a mask for each weight, by name")
        found, whence = {name: w != 0 for name, w in weights.items()}, "zeros"
        if all(bool(mask.all()) for mask in found.values()):
            raise BadInput(
                "None of the prunable weights is 0, so masks='zeros' finds nothing that is pruned; leave it out."
            )
    elif masks is None:
        found, whence = network.masks, network.whence
    elif isinstance(masks, Mapping):
        found = {name: numbers(m, f"mask of '{name}'").detach().cpu().bool() for name, m in masks.items()}
        whence = "given"
    else:
        raise BadInput(
            f"The masks are {type(masks).__name__}, but must be 'zeros', or a mask for each weight, by name."
        )
    if not found:
        return network
    for name in found:
        choose(name, weights, "prunable weight")
    whole = {name: found.get(name, torch.ones_like(w, dtype=torch.bool)) for name, w in weights.items()}
    check_masks(whole, weights)
    return Network(network.model, whole, _hidden(weights, whole), whence)


def _hidden(weights: Mapping[str, Tensor], masks: Masks) -> bool:
    """Whether most of what the masks take away is still there: of less than that ALLR's d1 cannot be measured."""
    fits = {name: mask for name, mask in masks.items() if name in weights and weights[name].shape == mask.shape}
    there = sum(int(weights[name].detach()[~mask].count_nonzero()) for name, mask in fits.items())
    return 2 * there > sum(int((~mask).sum()) for mask in fits.values())


def zeros(network: Network, prunable: tuple[str, ...]) -> float:
    """The share of the prunable weights that are 0."""
    weights = [network.model.get_parameter(name) for name in prunable]
    return 1 - sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


def _module(model: Model, shape: tuple[int, ...], classes: int, name: str) -> nn.Module:
    if isinstance(model, str):
        if not is_reference(model) and not libraries.is_theirs(model):
            choose(model, MODELS, "model", f"{REFERENCE}, torchvision/NAME, timm/NAME, a module or a factory")
        return build(model, shape=shape, classes=classes)
    if isinstance(model, nn.Module):
        products = {id(t): t.detach() for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)}
        return copy.deepcopy(model, dict(products)).cpu()  # torch cannot copy the product of a weight and its mask
    if not callable(model):
        raise BadInput(
            f"The model is {type(model).__name__}, but must be a module, a factory or a name; weights go into checkpoint."
        )
    with Seeded(stream(0, "init").initial_seed()):
        return given.called(model, name, {"shape": shape, "classes": classes})


def _plain(model: nn.Module) -> tuple[nn.Module, Masks]:
    """The module without torch's pruning, with the weights as they are behind the masks; and the masks."""
    masks: Masks = {}
    for path, module in model.named_modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, torch_prune.BasePruningMethod):
                leaf = hook._tensor_name
                masks[f"{path}.{leaf}".lstrip(".")] = getattr(module, f"{leaf}_mask").bool().clone()
                whole = getattr(module, f"{leaf}_orig").detach().clone()
                torch_prune.remove(module, leaf)
                with torch.no_grad():
                    getattr(module, leaf).copy_(whole)
                for name in [name for name in module._parameters if name != leaf]:  # the weight comes first again
                    module._parameters[name] = module._parameters.pop(name)
    return model, masks


def _tensors(checkpoint: Mapping[str, Tensor] | Path | str) -> dict[str, Tensor]:
    """The tensors of a state_dict, or of a file of one, by name."""
    if not isinstance(checkpoint, Mapping | str | Path):
        raise BadInput(
            f"The checkpoint is {type(checkpoint).__name__}, but must be a state_dict, such as model.state_dict(), or a "
            "file of one."
        )
    found = read_weights(Path(checkpoint), HOLDERS) if isinstance(checkpoint, str | Path) else dict(checkpoint)
    for holder in HOLDERS:
        if isinstance(found.get(holder), Mapping):
            found = dict(found[holder])  # as training scripts save it
    return {str(name): t for name, t in found.items()}


def _load(model: nn.Module, found: dict[str, Tensor], masks: Masks) -> Masks:
    """Put the tensors into the module; and the masks, of torch's pruning, that are among them."""
    for start in WRAPPED:
        if (
            found
            and all(n.startswith(start) for n in found)
            and not all(n.startswith(start) for n in model.state_dict())
        ):
            found = {name.removeprefix(start): t for name, t in found.items()}
    for name in [name for name in found if name.endswith("_mask") and f"{name[:-5]}_orig" in found]:
        masks = masks | {name[:-5]: found.pop(name).bool()}
        found[name[:-5]] = found.pop(f"{name[:-5]}_orig")
    own = model.state_dict()
    for what, names in (("lacks", own.keys() - found.keys()), ("also holds", found.keys() - own.keys())):
        if names:
            raise BadInput(
                f"The checkpoint is not one of this network: it {what} {shortened(sorted(names), 3)}; give the module, or "
                "the factory, that it was saved from."
            )
    for name, tensor in found.items():
        if isinstance(own[name], Tensor) and not isinstance(tensor, Tensor):
            raise BadInput(f"In the checkpoint '{name}' is {type(tensor).__name__}, but must be a tensor.")
        if isinstance(own[name], Tensor) and own[name].shape != tensor.shape:
            raise BadInput(
                f"The checkpoint is not one of this network: '{name}' is {list(tensor.shape)} and should be "
                f"{list(own[name].shape)}; give the module, or the factory, that it was saved from."
            )
    model.load_state_dict(found, strict=True)
    return masks


def outputs(model: nn.Module, shape: tuple[int, ...], name: str, least: int) -> int:
    """How many scores the network gives for one input, at least `least`. Raises BadInput, with the cause, for what is no
    tensor of scores."""
    trial = copy.deepcopy(model).eval()
    classes = least
    try:
        with torch.no_grad():
            scores = trial(torch.zeros(2, *shape))
        if isinstance(scores, Tensor) and scores.dim() == 2:
            classes = scores.shape[1]
    except Exception:  # which `check` says in a sentence
        pass
    if classes < least:
        raise BadInput(
            f"The network gives {classes} scores, but labels go up to {least - 1}; give the network of these classes."
        )
    check(model, name, shape, classes)
    return classes
