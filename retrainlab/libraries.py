"""Networks of torchvision and timm by name, such as torchvision/resnet18 and timm/resnet18.a1_in1k, and the weights that
their makers have trained, where those are on disk. Nothing is ever downloaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retrainlab.checks import BadInput, choose
from retrainlab.config import LIBRARIES
from retrainlab.phrases import first_line

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them


def is_theirs(name: str) -> bool:
    """Whether a name is that of a library's network."""
    return name.startswith(LIBRARIES)


def made(name: str, shape: tuple[int, ...], classes: int, width: int | None = None) -> nn.Module:
    """The network as its library initialises it, for images of `shape` (channels, height, width). Raises BadInput for an
    unknown name, a width, and a library that is missing."""
    library, short = _split(name)
    if width is not None:
        raise BadInput(f"The model '{name}' has no width to choose; leave it out.")
    if library.__name__ == "timm":
        sized = {"img_size": shape[1:]} if library.get_pretrained_cfg(short).fixed_input_size else {}
        try:
            return library.create_model(short, num_classes=classes, in_chans=shape[0], **sized)
        except Exception as error:  # each network has its own conditions
            raise BadInput(f"timm cannot make {short} for images of {list(shape)} ({first_line(error)}).") from error
    model = library.models.get_model(short, weights=None, num_classes=classes)
    if shape[0] != 3:
        path, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
        sizes = first.kernel_size, first.stride, first.padding
        stem = nn.Conv2d(shape[0], first.out_channels, *sizes, bias=first.bias is not None)  # type: ignore[arg-type]  # pairs
        model.set_submodule(path, stem)
    return model


def trained(name: str) -> nn.Module:
    """The network with the weights that its makers have trained, for the classes and channels that these are for. Raises
    BadInput if they are not on disk, with the places where they are looked for."""
    library, short = _split(name)
    places = dict(_places(library, short))
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        looked = " or ".join(f"{place} is wanted, from {home}" for place, home in places.items()) or "none are known"
        raise BadInput(f"The weights of {name} are not on disk: {looked}; download them, or give a checkpoint.")
    try:
        if library.__name__ == "timm":
            return library.create_model(short, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
        model = library.models.get_model(short, weights=None)
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
        return model
    except Exception as error:  # each reader has its own
        raise BadInput(f"{file} cannot be read as weights of {name} ({first_line(error)}); get it anew.") from error


def _split(name: str) -> tuple[Any, str]:
    """The library, which may be missing, and the name that it has for the network, which must be one of its own."""
    prefix, _, short = name.partition("/")
    try:
        library = _timm() if prefix == "timm" else _torchvision()
    except Exception as error:  # a torchvision made for another torch fails with whatever it meets first
        if isinstance(error, ModuleNotFoundError) and error.name == prefix:
            raise BadInput(
                f"The model '{name}' needs {prefix}, which is not installed; pip install {prefix}."
            ) from None
        raise BadInput(
            f"The model '{name}' needs {prefix}, which is installed but cannot be loaded ({error}); install the release of "
            f"{prefix} that belongs to torch {torch.__version__}."
        ) from None
    if prefix == "timm":
        return library, choose(short, [*library.list_models(), *library.list_pretrained()], "timm network")
    return library, choose(short, library.models.list_models(module=library.models), "torchvision network")


def _timm() -> Any:
    import timm

    return timm


def _torchvision() -> Any:
    import torchvision

    return torchvision


def _places(library: Any, short: str) -> Iterator[tuple[Path, str]]:
    """Where the weights may lie, in the cache of the Hugging Face hub or of torch, and where they come from."""
    if library.__name__ == "timm":
        config = library.get_pretrained_cfg(short)
        url = config.url
        if config.hf_hub_id:
            from huggingface_hub import constants, try_to_load_from_cache

            repository, _, revision = config.hf_hub_id.partition("@")
            names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
            found = (try_to_load_from_cache(repository, n, revision=revision or None) for n in names)
            folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
            place = next((Path(one) for one in found if isinstance(one, str)), folder / "snapshots" / "*" / names[0])
            yield place, f"{repository} on the Hugging Face hub"
    else:
        url = library.models.get_model_weights(short).DEFAULT.url
    if url:
        yield Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], url
