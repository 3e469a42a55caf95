"""`retrainlab pack | unpack`: a network into the smallest file that holds it bit for bit, and back; `retrainlab weights`:
that of a stored result."""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from retrainlab import storage
from retrainlab.checks import BadInput
from retrainlab.config import PRECISIONS, Experiment, Recipe
from retrainlab.data.folders import printable
from retrainlab.device import resolve
from retrainlab.models import state_dict
from retrainlab.paths import target, write_whole
from retrainlab.phrases import first_line, percent
from retrainlab.progress import Progress
from retrainlab.study import Results, layer_names, nouns, sizes
from retrainlab.study.inventory import named
from retrainlab.study.machine import Machine
from retrainlab.study.measured import Dense
from retrainlab.study.stages import network_of, prepare, while_retraining
from retrainlab.training.engine import Engine, fastest, forced
from retrainlab.training.state import State

ENDINGS = (".safetensors", ".pt", ".pth")


def pack_weights(weights: str, file: str, half: bool = False) -> str:
    """Pack the tensors of a file (see `read_weights`), and say how large the packed file is.

    Encoded are floating tensors of two or more dimensions whose name ends in `weight`; all others are dense. half: round to
    bfloat16 first. Raises BadInput for what cannot be read or written.
    """
    place, tensors = target(file, "The packed file"), read_weights(Path(weights))
    matrices = [n for n, t in tensors.items() if t.is_floating_point() and t.dim() > 1 and n.endswith("weight")]
    return _packed(tensors, matrices, place, half)[1]


def pack_experiment(experiment: Experiment, machine: Machine, file: str, half: bool = False) -> str:
    """Pack the network that an experiment ends with, and say how large the file is: as large as the result says.

    What is missing in the store is made first; the network is then retrained once more, since a result keeps no weights.
    Raises BadInput for what cannot be run, has diverged, or cannot be written.
    """
    place = target(file, "The packed file")
    outcome = machine.study([experiment], "pack")["outcome"].iloc[0]
    if outcome:
        raise BadInput(f"There is no network to pack ({outcome}); take a smaller learning rate or another seed.")
    results, progress = Results.at(machine.store), Progress("pack")
    where, what = resolve(machine.device), "retraining once more, since a result keeps no weights"
    engine = _engine(experiment, machine, where)
    try:
        _, state = results.network(experiment, where, engine, lambda share, _: progress(share, what))
    finally:
        progress.close()
    size, words = _packed(state.params | state.buffers, layer_names(experiment.recipe), place, half)
    told = sizes([experiment], results)
    own = told[told["precision"] == PRECISIONS[half]]["bytes"].min()
    if own == own and own != size:
        why = "another engine or machine has made it, which rounds otherwise"
        words += f" The stored result says {own:,.0f} bytes: {why}."
    return words


def unpack(file: str, weights: str) -> str:
    """Write the tensors of a packed file to `weights`, by its ending as safetensors or as torch's state_dict, and say so.
    Raises BadInput for a file that is damaged or not packed by this kit, and for what cannot be written."""
    place = target(weights, "The weights")
    _check_ending(place)
    with _readable(Path(file)):
        content = Path(file).read_bytes()
    tensors = storage.unpack(content, file)
    out = _content(tensors, place)
    _write(place, out)
    return f"{place}: {len(tensors)} tensors, {len(out):,} bytes; every bit is as it was packed."


def hand_out(key: str, machine: Machine, file: str, allowed: Sequence[str] = ()) -> str:
    """Write the network of the stored result, or first training, whose name begins with `key` to `file`: a plain state_dict
    with zeros in place, as safetensors or by torch. Says what it is.

    A result keeps no weights: its network is retrained from the stored dense network and masks, made first where they are
    missing. allowed: references to code that may be imported for it. Raises BadInput for a name that is none, a run that has
    diverged, one made with other code or from other data than are here now, and what cannot be written.
    """
    place = target(file, "The weights")
    if place.suffix == ".onnx":
        raise BadInput(
            "ONNX needs the packages onnx and onnxscript, which are no part of this kit; write a .safetensors file, load it "
            "into the network where these are installed, and call torch.onnx.export there."
        )
    _check_ending(place)
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
        progress, engine = Progress("weights"), _engine(noun, machine, where)
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
    _write(place, _content(tensors, place))
    return f"{place}: {len(tensors)} tensors of {recipe.model} on {printable(recipe.data)}; {words}."


def read_weights(path: Path, holders: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors by name in a .safetensors file, or in a .pt or .pth file that holds a state_dict, itself or under one of
    these names, on the CPU. Raises BadInput for anything else; no code that a file brings along is run."""
    _check_ending(path)
    with _readable(path):
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        found = torch.load(path, map_location="cpu", weights_only=True)
    inner = [found[name] for name in holders if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)]
    found = inner[0] if inner else found
    named = isinstance(found, Mapping) and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in found.items())
    if not named:
        raise BadInput(f"{path} holds no tensors by name; save them with torch.save(model.state_dict(), ...).")
    return {name: t.resolve_neg() for name, t in found.items()}


def _engine(experiment: Experiment, machine: Machine, where: torch.device) -> Engine:
    """The engine that a study of this experiment alone takes."""
    if machine.engine != "auto":
        return forced(machine.engine, where)
    recipe = while_retraining(experiment)
    setup, _ = prepare(recipe, where)
    return fastest(setup, State.of(setup.model, where), recipe)


def _packed(tensors: Mapping[str, Tensor], prunable: Collection[str], place: Path, half: bool) -> tuple[int, str]:
    """Write the smallest file, and return its size with a sentence of it."""
    original = len(storage.dense(tensors))
    packed = storage.smallest(storage.rounded(tensors) if half else tensors, prunable)
    _write(place, packed.content)
    size, ratio = len(packed.content), original / len(packed.content)
    words = f"{place}: {size:,} bytes ({packed}{', rounded to bfloat16' if half else ''}), {ratio:.2f} times smaller "
    words += f"than the network as it was ({original:,} bytes)."
    if negative := sum(_negative_zeros(tensors[name]) for name in prunable):
        words += (
            f" {negative:,} of its weights are -0, which takes as much room as any number: w * mask leaves -0, "
            "w.masked_fill(~mask, 0) leaves 0."
        )
    return size, words


def _content(tensors: Mapping[str, Tensor], place: Path) -> bytes:
    """The file of these tensors, as the ending of its name says."""
    if place.suffix == ".safetensors":
        return storage.dense(tensors)
    torch.save(dict(tensors), buffer := io.BytesIO())
    return buffer.getvalue()


def _negative_zeros(tensor: Tensor) -> int:
    wide = tensor.double()  # some short types have no sign bit in torch
    return int(((wide == 0) & wide.signbit()).sum())


def _check_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise BadInput(f"The weights {path} must be a file whose name ends in {', '.join(ENDINGS)}.")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises BadInput for what reading that file raises."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}); name another file.") from None
    except Exception as error:  # each reader has its own
        reason = first_line(error).split(". ")[0]  # not torch's advice
        raise BadInput(f"{path} is damaged, or no file of weights ({reason}); name another file.") from None


def _write(place: Path, content: bytes) -> None:
    try:
        write_whole(place, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise BadInput(f"{place} cannot be written ({error.strerror}); name another file.") from None
