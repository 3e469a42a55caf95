"""What is kept of a run, and where it comes from."""

import math
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
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
