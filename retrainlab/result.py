"""What is kept of a run, and where it comes from."""

import math
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import torch

import retrainlab
from retrainlab.config import Experiment, Prune, Recipe, to_dict
from retrainlab.device import describe
from retrainlab.training import Point


@dataclass(frozen=True)
class Result:
    """What is kept of a run. config: the nouns; scalars: numbers by name (accuracies are shares, None where undefined);
    curves: lists by name; provenance: versions, device, seconds, revision. JSON throughout."""

    config: dict
    scalars: dict
    curves: dict
    provenance: dict

    @staticmethod
    def of(record: object) -> "Result":
        """From parsed JSON, of whose types readers are sure then. Raises ValueError that says what is wrong."""
        names = [f.name for f in fields(Result)]
        if not isinstance(record, dict) or sorted(record) != sorted(names):
            raise ValueError(f"it does not hold {', '.join(names)}")
        for name in names:
            if not isinstance(record[name], dict):
                raise ValueError(f"its {name} are no names with values")
        for name, value in record["scalars"].items():
            if not (isinstance(value, str) if name == "outcome" else _number(value)):
                raise ValueError(f"its scalar {name} is no number")
        curves = record["curves"]
        for name, values in curves.items():
            if not isinstance(values, list | dict):
                raise ValueError(f"its curve {name} is no list")
            if not all(map(_number, values.values() if isinstance(values, dict) else values)):
                raise ValueError(f"its curve {name} is not of numbers")
        if len({len(values) for values in curves.values() if isinstance(values, list)}) > 1:
            raise ValueError("its curves differ in length")
        for name, value in record["provenance"].items():
            if not (isinstance(value, str) or _number(value)):
                raise ValueError(f"its provenance {name} is no text")
        return Result(**record)


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
    engine: object = None,
) -> Result:
    """A result as it is stored: None for a number that is not finite, and where it comes from. engine: what trained it,
    in words."""

    def finite(x):
        return None if isinstance(x, float) and not math.isfinite(x) else x

    scalars = {name: finite(x) for name, x in scalars.items()}
    curves = {k: [finite(x) for x in v] if isinstance(v, list) else v for k, v in curves.items()}
    provenance = {"device": describe(device), "seconds": round(seconds, 3), **versions()}
    if engine is not None:
        provenance |= {"engine": str(engine)}
    return Result(to_dict(noun), scalars, curves, provenance)


@lru_cache(maxsize=1)
def versions() -> dict:
    """What made a result: versions of retrainlab, Python and torch, the git revision if there is one."""
    root = Path(retrainlab.__file__).parent.parent
    revision = None
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
