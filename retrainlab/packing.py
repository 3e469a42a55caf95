"""`retrainlab pack | unpack`: a network into the smallest file that holds it bit for bit, and back."""

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from retrainlab import storage
from retrainlab.checks import BadInput
from retrainlab.config import PRECISIONS, Experiment
from retrainlab.device import resolve
from retrainlab.paths import target
from retrainlab.progress import Progress
from retrainlab.study import Results, layer_names, sizes
from retrainlab.study.machine import Machine
from retrainlab.weights import content_of, engine_of, place_for, read_weights, readable, write


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
    engine = engine_of(experiment, machine, where)
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
    place = place_for(weights)
    with readable(Path(file)):
        content = Path(file).read_bytes()
    tensors = storage.unpack(content, file)
    out = content_of(tensors, place)
    write(place, out)
    return f"{place}: {len(tensors)} tensors, {len(out):,} bytes; every bit is as it was packed."


def _packed(tensors: Mapping[str, Tensor], prunable: Collection[str], place: Path, half: bool) -> tuple[int, str]:
    """Write the smallest file, and return its size with a sentence of it."""
    original = len(storage.dense(tensors))
    packed = storage.smallest(storage.rounded(tensors) if half else tensors, prunable)
    write(place, packed.content)
    size, ratio = len(packed.content), original / len(packed.content)
    words = f"{place}: {size:,} bytes ({packed}{', rounded to bfloat16' if half else ''}), {ratio:.2f} times smaller "
    words += f"than the network as it was ({original:,} bytes)."
    if negative := sum(_negative_zeros(tensors[name]) for name in prunable):
        words += (
            f" {negative:,} of its weights are -0, which takes as much room as any number: w * mask leaves -0, "
            "w.masked_fill(~mask, 0) leaves 0."
        )
    return size, words


def _negative_zeros(tensor: Tensor) -> int:
    wide = tensor.double()  # some short types have no sign bit in torch
    return int(((wide == 0) & wide.signbit()).sum())
