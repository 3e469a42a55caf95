"""Files of earlier versions: what those without a checksum must hold, and those that get another name."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from retrainlab.checks import BadInput
from retrainlab.data.folders import printable
from retrainlab.study.result import Result

if TYPE_CHECKING:
    from retrainlab.study.store import Store

LONGEST = 500  # characters of a sentence's part
CURVES = {"step", "validation_accuracy", "validation_loss", "train_loss", "weight_sparsity", "lr"}
LEAST = {  # what a record of every version has at least: scalars, then curves, which an export may leave out
    "dense": (
        {"test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "parameters", "prunable_weights"}
        | {"multiply_adds", "sparsity", "steps", "images_per_second"},
        CURVES,
    ),
    "pruned": (
        {"validation_accuracy", "recalibrated_validation_accuracy", "stability", "recalibrated_stability"},
        set(),
    ),
    "results": (
        {"test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "dense_test_accuracy", "stability"}
        | {"dense_validation_accuracy", "trained_sparsity", "pruned_validation_accuracy", "recalibrated_stability"}
        | {"recalibrated_validation_accuracy", "recovery", "sparsity_achieved", "norm_drop", "removed", "peak_lr"}
        | {"allr_factor", "theoretical_speedup", "shrunken_speedup", "measured_speedup", "steps", "total_steps"}
        | {"stopped", "images_per_second"},
        CURVES | {"cycle", "layer_sparsity"},
    ),
    "throughput": ({"images_per_second"}, set()),
}


class Unfit(ValueError):
    """Why a stored file is not what its name says, in one printable line, whatever names the file has in it."""

    def __init__(self, why: str):
        super().__init__(printable(why[:LONGEST]))


def check(kind: str, result: Result) -> None:
    """Raise Unfit unless a record without a checksum holds what every record of its kind does."""
    without = [*lacking(kind, result), *sorted(LEAST[_about(kind, result)][1] - result.curves.keys())]
    if without or not isinstance(result.provenance.get("device"), str):
        raise Unfit(f"it lacks {', '.join(without) or 'its device'}")
    for name, share in result.scalars.items():
        if name.endswith("accuracy") and share is not None and (isinstance(share, bool) or not 0 <= share <= 1):
            raise Unfit(f"its {name} is {share}, which is no share")


def lacking(kind: str, result: Result) -> list[str]:
    """The scalars that a record does not have, though every one of its kind does."""
    return sorted(LEAST[_about(kind, result)][0] - result.scalars.keys())


def _about(kind: str, result: Result) -> str:
    return "throughput" if kind == "results" and "retrain" not in result.config else kind


def check_dense(result: Result, parts: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """Raise Unfit unless tensors without a checksum can be a dense run's; parts: params, buffers and momentum by name."""
    params, momentum = parts["params"], parts["momentum"]
    count = sum(p.numel() for p in params.values())
    if result.scalars.get("parameters", count) != count:
        raise Unfit(f"it holds {count} parameters, not {result.scalars['parameters']}")
    if any(name not in params or params[name].shape != m.shape for name, m in momentum.items()):
        raise Unfit("its momentum is not that of its parameters")


def check_masks(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise Unfit unless tensors without a checksum can be masks."""
    if any(mask.dtype != torch.bool for mask in tensors.values()):
        raise Unfit("its masks are not all of truth values")


def unsaid_half(result: Result) -> bool:
    """Whether an earlier version computed it in bfloat16, which its settings and its key did not say then."""
    recipe = result.config.get("recipe", result.config)
    return "precision" not in recipe and "bfloat16" in str(result.provenance.get("engine"))


def saying_half(kind: str, result: Result) -> Result:
    """The same with settings that say that it was computed in bfloat16; those of masks have no word for it."""
    config = result.config
    if "recipe" in config:
        config = config | {"recipe": config["recipe"] | {"precision": "bfloat16"}}
    elif kind == "dense":
        config = config | {"precision": "bfloat16"}
    return replace(result, config=config)


def adopt(store: "Store", names: Mapping[str, Sequence[str]]) -> bool:
    """Give what was computed in bfloat16, and stored as if in float32, the names of what it is.

    names: (old, new) of one experiment's `dense` run, `pruned` masks and `results`. Returns whether anything got another
    name; nothing does in a store that is only read.
    """
    moved = False
    for kind, followers in ("dense", ["pruned"]), ("results", []):
        with suppress(BadInput, Unfit):
            found = store.read(kind, names[kind][0], tensors=False)
            if found is not None and unsaid_half(found.result):
                for each in (*followers, kind):
                    _rename(store, each, *names[each])
                moved = True
    return moved


def _rename(store: "Store", kind: str, old: str, new: str) -> None:
    """Give it another name, and settings that say how it was computed."""
    if (found := store.read(kind, old)) is None:
        return  # another process was first
    store.write(kind, new, saying_half(kind, found.result), found.tensors)
    store.forget(kind, old)
