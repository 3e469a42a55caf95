"""A network that a user gives: made by the factory that a reference stands for, and made ready to be trained here."""

import copy
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrainlab import importing
from retrainlab.checks import BadInput

FACTORY = ("shape", "classes", "width")


def made(name: str, shape: tuple[int, ...], classes: int, width: int | None) -> nn.Module:
    """The network of the factory that the reference `name` stands for, which is called with those of shape (of one input),
    classes and width that it asks for by name. Raises BadInput for a factory that asks for more or raises, and for what is
    no network that can be trained here."""
    factory = importing.called(name)
    given = {"shape": shape, "classes": classes} | ({} if width is None else {"width": width})
    model = called(factory, name, given)
    return settled(model, name, shape)


def called(factory: Callable, name: str, given: dict[str, object]) -> nn.Module:
    """What the factory makes of those of the settings given that it has parameters for."""
    own = inspect.signature(factory).parameters
    asked = {what: value for what, value in given.items() if what in own}
    needed = [n for n, p in own.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if lacking := [n for n in needed if n not in asked]:
        raise BadInput(
            f"The factory {name} asks for {', '.join(lacking)}, but is given {', '.join(FACTORY)} at most; give the "
            "others defaults."
        )
    if "width" in given and "width" not in own:
        raise BadInput(f"The model '{name}' has no width to choose; leave it out.")
    try:
        model = factory(**asked)
    except Exception as error:  # whatever the user's code raises
        raise BadInput(f"The factory {name} fails ({type(error).__name__}: {error}); mend it.") from error
    if not isinstance(model, nn.Module):
        raise BadInput(f"The factory {name} gives {type(model).__name__}, but must give a torch.nn.Module.")
    return model


def settled(model: nn.Module, name: str, shape: tuple[int, ...]) -> nn.Module:
    """The network itself, with parameters frozen that no forward pass uses, so that they stay as they are. Raises BadInput
    for numbers in another precision than float32, and for what fails on two inputs of `shape`."""
    kinds = {p.dtype for p in model.parameters()} - {torch.float32}
    if kinds:
        raise BadInput(
            f"The model '{name}' has parameters of {kinds.pop()}; give it in float32, as model.float() makes it."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise BadInput(f"The model '{name}' has no parameters to train: all are frozen; set requires_grad of some.")
    for parameter in unused(model, shape):
        model.get_parameter(parameter).requires_grad_(False)
    return model


def unused(model: nn.Module, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the parameters that the scores of two inputs do not depend on, in training mode; none where the network fails
    on them, which `models.build` says better."""
    trial = copy.deepcopy(model).train()
    own = {name: p for name, p in trial.named_parameters() if p.requires_grad}
    try:
        with torch.enable_grad():
            scores = trial(torch.zeros(2, *shape))
        if not isinstance(scores, Tensor):
            return ()
        gradients = torch.autograd.grad(scores.sum(), list(own.values()), allow_unused=True)
    except Exception:
        return ()
    return tuple(name for name, gradient in zip(own, gradients) if gradient is None)
