"""Networks in files: state_dicts that are read and written, and ONNX; `retrainlab weights`: that of a stored result."""

import copy
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from retrainlab import onnx_file, storage
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Recipe
from retrainlab.data.dataset import load
from retrainlab.data.folders import printable
from retrainlab.device import resolve
from retrainlab.models import build, state_dict
from retrainlab.paths import target, write_whole
from retrainlab.phrases import first_line, percent
from retrainlab.progress import Progress
from retrainlab.study import Results, nouns
from retrainlab.study.inventory import named
from retrainlab.study.machine import Machine
from retrainlab.study.measured import Dense
from retrainlab.study.stages import network_of, prepare, while_retraining
from retrainlab.training.engine import Engine, fastest, forced
from retrainlab.training.state import State

ENDINGS = (".safetensors", ".pt", ".pth")
CHECKED = 64  # inputs that an ONNX file's scores are checked on


def hand_out(key: str, machine: Machine, file: str, allowed: Sequence[str] = ()) -> str:
    """Write the network of the stored result, or first training, whose name begins with `key` to `file`: a plain state_dict
    with zeros in place, as safetensors or by torch, or the whole network as ONNX (see `onnx_file`). Says what it is.

    A result keeps no weights: its network is retrained from the stored dense network and masks, made first where they are
    missing. allowed: references to code that may be imported for it. Raises BadInput for a name that is none, a run that has
    diverged, one made with other code or from other data than are here now, and what cannot be written.
    """
    place = place_for(file, network=True)
    results = Results.at(machine.store)
    entry = named(results.store, key, ("dense", "results"))[0]
    assert entry.stored is not None
    if outcome := entry.stored.result.outcome:
        raise BadInput(f"There is no network to write ({outcome}); take a result that has an accuracy.")
    noun = nouns.allowing(nouns.noun_of(entry.kind, entry.stored.result.config), allowed)
    if results.key(noun) != entry.key:
        raise BadInput(
            f"{entry.kind}/{entry.key} was made from data or code that are not here now, so it cannot be retrained."
        )
    where, recipe = resolve(machine.device), noun if isinstance(noun, Recipe) else noun.recipe
    if isinstance(noun, Recipe):
        state = next(made.state for _, made in results.make([noun], where) if isinstance(made, Dense))
        words = "the network before any prune"
    else:
        progress, engine = Progress("weights"), engine_of(noun, machine, where)
        first = "" if results.dense(recipe, where) else f"training for {recipe.epochs} epochs, and "
        what = f"{first}retraining, since a result keeps no weights"
        try:
            made, state = results.network(noun, where, engine, lambda share, _: progress(share, what))
        finally:
            progress.close()
        pair = (percent(r.scalars["test_accuracy"]) for r in (made, entry.stored.result))
        words = "sparsity {:.3g} %, test accuracy {}, as stored {}".format(
            100 * made.scalars["sparsity_achieved"], *pair
        )
    tensors = state_dict(network_of(recipe), state.params | state.buffers)
    if place.suffix == ".onnx":
        data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
        model = build(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width)
        what = write_network(loaded(model, tensors), data.normalise(data.test.images), place)
    else:
        what = write_tensors(tensors, place)
    return f"{place}: {what} of {recipe.model} on {printable(recipe.data)}; {words}."


def loaded(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network on the CPU that has these weights. Raises BadInput for those of another network."""
    if not isinstance(tensors, Mapping):
        raise BadInput(
            f"What is to be written is {type(tensors).__name__}, but must be a state_dict, such as answer.weights() gives."
        )
    own = copy.deepcopy(model).cpu()
    try:
        own.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise BadInput(f"These are not the weights of this network ({first_line(error)}); give its own.") from None
    return own


def write_network(model: nn.Module, inputs: Tensor, place: Path) -> str:
    """Write a network on the CPU as ONNX, checked on some of the inputs, which are as it takes them. Says in a few words
    what the file holds. Raises BadInput for what cannot be written."""
    write(place, onnx_file.content(model, inputs[:CHECKED].cpu()))
    return f"the whole network, whose scores ONNX Runtime finds as torch does, for inputs {list(inputs.shape[1:])}"


def write_tensors(tensors: Mapping[str, Tensor], place: Path) -> str:
    """Write a state_dict as the ending of the name says, and say in a few words what the file holds."""
    own = {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
    write(place, content_of(own, place))
    return f"{len(tensors)} tensors"


def read_weights(path: Path, holders: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors by name in a .safetensors file, or in a .pt or .pth file that holds a state_dict, itself or under one of
    these names, on the CPU. Raises BadInput for anything else; no code that a file brings along is run."""
    _check_ending(path)
    with readable(path):
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        found = torch.load(path, map_location="cpu", weights_only=True)
    inner = [found[name] for name in holders if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)]
    found = inner[0] if inner else found
    named = isinstance(found, Mapping) and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in found.items())
    if not named:
        raise BadInput(f"{path} holds no tensors by name; save them with torch.save(model.state_dict(), ...).")
    return {name: t.resolve_neg() for name, t in found.items()}


def place_for(file: str, network: bool = False) -> Path:
    """The file that weights are to be written to. network: whether it may be ONNX, which holds a whole one. Raises BadInput,
    before any work, for another ending, a folder that cannot be written, and ONNX without the packages that it needs."""
    place = target(file, "The weights")
    if network and place.suffix == ".onnx":
        onnx_file.needed()
    else:
        _check_ending(place, (*ENDINGS, ".onnx") if network else ENDINGS)
    return place


def content_of(tensors: Mapping[str, Tensor], place: Path) -> bytes:
    """The file of these tensors, as the ending of its name says."""
    if place.suffix == ".safetensors":
        return storage.dense(tensors)
    torch.save(dict(tensors), buffer := io.BytesIO())
    return buffer.getvalue()


def write(place: Path, content: bytes) -> None:
    """Write the file whole. Raises BadInput where that fails, with nothing left behind."""
    try:
        write_whole(place, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise BadInput(f"{place} cannot be written ({error.strerror}); name another file.") from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises BadInput for what reading that file raises."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}); name another file.") from None
    except Exception as error:  # each reader has its own
        reason = first_line(error).split(". ")[0]  # not torch's advice
        raise BadInput(f"{path} is damaged, or no file of weights ({reason}); name another file.") from None


def engine_of(experiment: Experiment, machine: Machine, where: torch.device) -> Engine:
    """The engine that a study of this experiment alone takes."""
    if machine.engine != "auto":
        return forced(machine.engine, where)
    recipe = while_retraining(experiment)
    setup, _ = prepare(recipe, where)
    return fastest(setup, State.of(setup.model, where), recipe)


def _check_ending(path: Path, allowed: Sequence[str] = ENDINGS) -> None:
    if path.suffix not in allowed:
        raise BadInput(f"The weights {path} must be a file whose name ends in {', '.join(allowed)}.")
