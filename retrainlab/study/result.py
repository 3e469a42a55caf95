"""What is kept of a run, and where it comes from."""

import json
import math
import platform
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor

import retrainlab
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.device import describe
from retrainlab.keys import to_dict
from retrainlab.training.state import Point

T = TypeVar("T")
MEASURED = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "recovery")
OF_MASKS = ("sparsity_achieved", "theoretical_speedup", "shrunken_speedup", "measured_speedup")
COUNTED = ("steps", "total_steps", "stopped", "images_per_second")


@dataclass(frozen=True)
class Result:
    """What is kept of a run. config: the nouns; scalars: numbers by name (accuracies are shares, None where undefined);
    curves: lists by name; provenance: versions, device, seconds, revision; outcome: empty for a run that ended as it
    should, else what happened, such as `diverged: retraining, cycle 1, within 12 steps`. JSON throughout.

    A run that has diverged has no accuracy. One that was stored with an accuracy, before outcomes were kept, is known by
    the losses that it lacks, and loses here what is no number of its network.
    """

    config: dict
    scalars: dict
    curves: dict
    provenance: dict
    outcome: str = ""

    def __post_init__(self) -> None:
        if self.outcome:
            return
        outcome, lost = _divergence(self.scalars, self.curves)
        if outcome:
            object.__setattr__(self, "outcome", outcome)
            object.__setattr__(self, "scalars", {k: None if k in lost else x for k, x in self.scalars.items()})
            object.__setattr__(self, "curves", _without_guesses(self.curves, lost))

    def keeping(self, weights: dict[str, Tensor]) -> "Self":
        """The same result, which also has its network; no store keeps that."""
        kept = replace(self)
        object.__setattr__(kept, "_weights", weights)  # no field, for fields are what is stored
        return kept

    def weights(self) -> dict[str, Tensor]:
        """The network that the run ended with, as a plain state_dict on the CPU with zeros in place, for
        `load_state_dict(strict=True)`. Raises BadInput for a result that was made without keep=True, or read."""
        try:
            return dict(vars(self)["_weights"])
        except KeyError:
            raise BadInput(
                "This result has no weights with it; make it with run(..., keep=True), or write those of a stored one "
                "with `retrainlab weights KEY FILE`."
            ) from None

    @staticmethod
    def later(said: T, told: Callable[[T, str], dict[str, Any]], outcome: str) -> "Result":
        """A result that was one before, of which `told` makes the other fields, and `settings`, out of what was said, each
        when it is first asked for, some maybe together: of a hundred thousand results mostly few are."""
        out = object.__new__(Result)
        vars(out).update(outcome=outcome, _said=said, _told=told)
        return out

    if not TYPE_CHECKING:  # to which every name would be there

        def __getattr__(self, name: str):
            own = vars(self)
            if "_said" not in own or name not in NAMES:
                raise AttributeError(f"a result has no '{name}'")
            own.update(own["_told"](own["_said"], name))
            return own[name]

    @property
    def settings(self) -> Mapping[str, str]:
        """JSON of each part of its config, by name: equal texts are equal settings, which saves parsing most of many."""
        if (said := vars(self).get("_said")) is not None:
            return vars(self)["_told"](said, "settings")["settings"]
        return {name: json.dumps(part) for name, part in self.config.items()}

    @staticmethod
    def of(record: object) -> "Result":
        """From parsed JSON, of whose types readers are sure then. Raises ValueError that says what is wrong."""
        names = [f.name for f in fields(Result) if f.name != "outcome"]  # which came later
        if not isinstance(record, dict) or sorted({*record} - {"outcome"}) != sorted(names):
            raise ValueError(f"it does not hold {', '.join(names)}")
        for name in names:
            if not isinstance(record[name], dict):
                raise ValueError(f"its {name} are no names with values")
        if not isinstance(record["config"].get("recipe", {}), dict):
            raise ValueError("its recipe is no names with values")
        if not isinstance(record.get("outcome", ""), str):
            raise ValueError("its outcome is no text")
        for name, value in record["scalars"].items():
            if not _number(value):
                raise ValueError(f"its scalar {name} is no number")
        for name, values in record["curves"].items():
            if not isinstance(values, list | dict):
                raise ValueError(f"its curve {name} is no list")
            if not all(map(_number, values.values() if isinstance(values, dict) else values)):
                raise ValueError(f"its curve {name} is not of numbers")
        if len({len(values) for values in record["curves"].values() if isinstance(values, list)}) > 1:
            raise ValueError("its curves differ in length")
        for name, value in record["provenance"].items():
            if not (isinstance(value, str) or _number(value)):
                raise ValueError(f"its provenance {name} is no text")
        try:
            return Result(**record)
        except (LookupError, TypeError):
            raise ValueError("its curves tell nothing together") from None


NAMES = tuple(f.name for f in fields(Result))


def _divergence(scalars: dict, curves: dict) -> tuple[str, Collection[str]]:
    """How a run has diverged that its numbers tell of, or nothing; and the scalars that it does not have then."""
    maskless = scalars.get("norm_drop", 0) is None  # what was pruned last was not finite
    points = zip(*(curves.get(name, ()) for name in ("step", "validation_loss", "train_loss")))
    for place, (step, validation, train) in enumerate(points):
        if validation is not None and (train is not None or step == 0):
            continue
        if "cycle" not in curves:
            return f"diverged: the first training, within {step} steps", (*MEASURED, "sparsity")
        if maskless and place == 0:
            return "diverged: the first training", scalars.keys() - COUNTED
        cycle = curves["cycle"][place] + 1
        return f"diverged: retraining, cycle {cycle}, within {step} steps", MEASURED + OF_MASKS * maskless
    if any(scalars.get(name, 0) is None for name in ("test_loss", "validation_loss")):
        return "diverged: the finished network", MEASURED
    return "", ()


def _without_guesses(curves: dict, lost: Collection[str]) -> dict:
    """No accuracy where there is no loss, and no layer's sparsity where there is none of all."""
    pairs = zip(curves.get("validation_accuracy", ()), curves.get("validation_loss", ()))
    curves = curves | {"validation_accuracy": [None if loss is None else accuracy for accuracy, loss in pairs]}
    return curves | {"layer_sparsity": {}} if "sparsity_achieved" in lost else curves


def _number(x: object) -> bool:
    """Whether that is a number that every table can hold, or None, which stands for one that was not finite."""
    if isinstance(x, float):
        return math.isfinite(x)
    return x is None or isinstance(x, int) and abs(x) < 2**63


def curves_of(points: Sequence[Point]) -> dict:
    """The points of a training as lists."""
    return {
        "step": [p.step for p in points],
        "validation_accuracy": [p.accuracy for p in points],
        "validation_loss": [p.loss for p in points],
        "train_loss": [p.train_loss for p in points],
        "weight_sparsity": [p.sparsity for p in points],
        "lr": [p.lr for p in points],
    }


def record(
    noun: Recipe | Prune | Experiment,
    scalars: dict,
    curves: dict,
    device: torch.device,
    seconds: float,
    engine: object = "",
    outcome: str = "",
    weights: str = "",
) -> Result:
    """A result as it is stored: None for a number that is not finite, and where it comes from.

    engine: what trained it, in words; outcome: where its own numbers cannot tell that it has diverged; weights: of the dense
    network that it starts from, or is.
    """
    provenance = {"device": describe(device), "seconds": round(seconds, 3), **versions()}
    provenance |= {name: str(told) for name, told in (("engine", engine), ("weights", weights)) if told}
    finite = {name: _or_none(x) for name, x in scalars.items()}
    columns = {name: list(map(_or_none, x)) if isinstance(x, list) else x for name, x in curves.items()}
    return Result(to_dict(noun), finite, columns, provenance, outcome)


def _or_none(x: object) -> object:
    return None if isinstance(x, float) and not math.isfinite(x) else x


@lru_cache(maxsize=1)
def versions() -> dict:
    """What made a result: versions of retrainlab, Python and torch, the git revision if there is one."""
    root, revision = Path(retrainlab.__file__).parent.parent, None
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
        with suppress(OSError):  # no git on this machine
            revision = subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    return {
        "retrainlab": retrainlab.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "revision": revision,
    }
