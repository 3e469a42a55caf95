"""Data that a user gives: tensors, a torch Dataset or a DataLoader, of inputs of any one shape; taken as they are.

uint8 images [N, C, H, W] are normalised as the kit's own are; all else must be floating, as the network takes it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from retrainlab import importing
from retrainlab.checks import BadInput
from retrainlab.data.reading import Augmentation, Source
from retrainlab.phrases import first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Pair = tuple[np.ndarray, np.ndarray]
MOST = 2**34  # bytes of inputs that are held in memory


@dataclass(frozen=True)
class Given:
    """The data that a reference stands for, with the attributes of a `sources.BuiltIn`: a function without arguments that
    returns the training data, or (training, validation, test); 15 % are split off for what it does not return. code: its
    fingerprint, so that what was read by another version is not taken for it."""

    name: str
    code: str

    def where(self) -> str:
        return self.name

    @property
    def held_out(self) -> tuple[int, int]:
        """15 % of the training data each."""
        count = round(0.15 * len(self.read().train[1]))
        return count, count

    @property
    def augmentation(self) -> Augmentation:
        """None: a user's data may be of any kind."""
        return Augmentation()

    def read(self) -> Source:
        """Inputs and labels. Raises BadInput for what the function raises, and for what is no such data."""
        return _read(self.name, self.code)

    def fingerprint(self) -> str:
        """A hash of all inputs and labels."""
        return f"given/{digest(self.read())}"

    def content(self) -> str:
        """What is in it, in a sentence."""
        inputs, labels = self.read().train
        return f"{self.name}: {len(labels):,} training inputs of shape {list(inputs.shape[1:])}."


@cache
def _read(name: str, code: str) -> Source:
    load = importing.called(name)
    try:
        found = load()
    except Exception as error:  # whatever the user's code raises
        raise BadInput(f"The data {name} cannot be loaded ({type(error).__name__}: {error}); mend it.") from error
    parts = found if isinstance(found, tuple) and len(found) == 3 else (found, None, None)
    return source(name, *parts)


def source(what: str, train: Any, validation: Any = None, test: Any = None) -> Source:
    """Three parts, each in one of the forms of `pair` (training at least), as arrays. what: their name in errors. Raises
    BadInput for what is no such data, and for parts whose inputs differ in kind."""
    parts = {"training": train, "validation": validation, "test": test}
    pairs = {part: pair(x, f"{part} data of {what}") for part, x in parts.items() if x is not None}
    if "training" not in pairs:
        raise BadInput(f"There is no training data in {what}; give it as tensors, a Dataset or a DataLoader.")
    kinds = {part: (x.shape[1:], x.dtype) for part, (x, _) in pairs.items()}
    for part, (shape, kind) in kinds.items():
        if (shape, kind) != kinds["training"]:
            own = f"{list(kinds['training'][0])} of {kinds['training'][1]}"
            raise BadInput(
                f"The {part} data of {what} has inputs of shape {list(shape)} of {kind}, but training has {own}; give all "
                "parts alike."
            )
    return Source(*(pairs.get(part) for part in parts))  # type: ignore[arg-type]  # training is there


def pair(data: Any, what: str) -> "Pair":
    """(inputs [N, ...], labels int64 [N]) of a pair of tensors or arrays, a torch Dataset of (input, label), or a DataLoader
    of batches of these, read once in order. what: its name in errors. Raises BadInput for anything else."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    if isinstance(data, tuple | list) and len(data) == 2:
        inputs, labels = (numbers(x, what) for x in data)
    elif isinstance(data, DataLoader):
        inputs, labels = _joined(data, what, torch.cat)
    elif isinstance(data, Dataset) and hasattr(data, "__len__"):
        inputs, labels = _joined(map(data.__getitem__, range(len(data))), what, torch.stack)
    else:
        raise BadInput(
            f"The {what} is {type(data).__name__}, but must be a pair (inputs, labels) of tensors, a torch Dataset that has "
            "a length, or a DataLoader."
        )
    _check(inputs, labels, what)
    return (inputs if inputs.dtype == torch.uint8 else inputs.float()).detach().cpu().numpy(), labels.cpu().numpy()


def _joined(data: Iterable[Any], what: str, join: Any) -> tuple[Any, Any]:
    """All items' inputs, and all labels."""
    import torch

    try:
        items = list(data)
    except Exception as error:  # whatever the user's code raises
        raise BadInput(f"The {what} cannot be read ({type(error).__name__}: {first_line(error)}); mend it.") from error
    if not items or any(not isinstance(item, tuple | list) or len(item) != 2 for item in items):
        raise BadInput(f"The {what} must give pairs (input, label), and at least one.")
    inputs, labels = ([numbers(part, what) for part in own] for own in zip(*items))
    batched = join is torch.cat
    if len(shapes := sorted({tuple(x.shape[batched:]) for x in inputs})) > 1:
        raise BadInput(
            f"The {what} has inputs of {len(shapes)} shapes, such as {list(shapes[0])} and {list(shapes[-1])}; bring them "
            "to one, for images with a transform such as Resize((64, 64))."
        )
    return join(inputs), join(labels)


def numbers(value: Any, what: str) -> "Tensor":
    """A tensor of what holds numbers. what: its name in errors. Raises BadInput for all else, such as images that no
    transform has made tensors of."""
    import torch

    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"The {what} has {type(value).__name__} where numbers must be; make tensors of it, of images by a transform "
            "such as ToTensor()."
        ) from None


def _check(inputs: Any, labels: Any, what: str) -> None:
    """Raise BadInput unless they can be trained on."""
    import torch

    fault = ""
    if inputs.dim() < 2 or labels.dim() != 1 or len(inputs) != len(labels) or not len(labels):
        fault = f"inputs of shape {list(inputs.shape)} and labels of shape {list(labels.shape)}, not [N, ...] and [N]"
    elif labels.is_floating_point() or labels.dtype == torch.bool or int(labels.min()) < 0:
        fault = f"labels of {labels.dtype} that are no numbers of classes, 0, 1, 2, ..."
    elif inputs.dtype == torch.uint8 and inputs.dim() != 4:
        fault = f"bytes of shape {list(inputs.shape)}, which are no images [N, C, H, W]"
    elif inputs.dtype != torch.uint8 and not inputs.is_floating_point():
        fault = f"inputs of {inputs.dtype}; give floating ones, of which a network of token numbers makes x.long()"
    elif inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        fault = "inputs that are infinite or NaN"
    elif inputs.nbytes > MOST:
        fault = f"{inputs.nbytes / 2**30:.1f} GiB of inputs, more than the {MOST / 2**30:.0f} that are held in memory"
    if fault:
        raise BadInput(f"The {what} has {fault}.")


def digest(found: Source) -> str:
    """A hash of all inputs and labels: 16 hex digits."""
    import numpy as np

    total = hashlib.sha256()
    for part in (found.train, found.validation, found.test):
        for array in part or ():
            total.update(f"{array.shape} {array.dtype}".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:16]
