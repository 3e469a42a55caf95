"""A small site, of results that no training made: two figures with claims, explorers of digits and CIFAR-10, the sessions
and the sheet; the race of digits lacks its runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from retrainlab import stats
from retrainlab.claims import report
from retrainlab.config import Recipe
from retrainlab.explore.kit import live
from retrainlab.explore.views import draw, predict, start, stored
from retrainlab.keys import to_dict
from retrainlab.models import build
from retrainlab.site import explorers, make
from retrainlab.study.collapse import COLLAPSE
from retrainlab.study.measured import Dense
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from retrainlab.teaching import sessions
from retrainlab.training.state import State
from tests.helpers import claimed, made_figures, shelved

ENDS = {"FT": 0.7, "LRW": 0.7, "SLR": 0.9, "CLR": 0.91, "LLR": 0.93, "ALLR": 0.92, "custom": 0.85}
DEVICE = "cpu, invented"
ORDER = ("start", "predict", "race", "draw")
FIGURES = ("fig03_budgets", "fig04_best_lr")
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="720pt" height="480pt" viewBox="0 0 720 480"/>'
real = live.recipe_of


def recipe_of(data: str, model: str, seed: int) -> Recipe:
    """Tiny networks of digits; others as they are."""
    return Recipe(data, model, width=4, epochs=1, seed=seed) if data == "digits" else real(data, model, seed)


def build_site(folder: Path) -> Path:
    """The folder of the site, which is in `folder`, as are its store and its figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "recipe_of", recipe_of)
        patch.setattr(explorers, "ORDER", ORDER)
        patch.delitem(stored.PAGES, "start")  # a hundred views of a large network: some seconds
        store, figures = Store(folder / "store"), folder / "figures"
        _fill(Results.at(store))
        shelved.cifar10(store)
        for name in FIGURES:
            _figure(figures / "digits", name)
        report.write(claimed.verdicts(), figures / "digits", "What digits says of the claims")
        sessions.make(str(folder / "taught"), pdf=False)
        make.make(str(folder / "site"), str(folder / "store"), str(figures), str(folder / "taught"))
    return folder / "site"


def _figure(folder: Path, name: str) -> None:
    """What the site reads of a saved figure; its pictures are not drawn."""
    table = made_figures.table(name)
    about = {"caption": f"A caption of {name}.", "devices": [DEVICE], "versions": {"torch": "0"}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(stats.to_csv(table))
    (folder / f"{name}.json").write_text(json.dumps(about))
    for end in ("svg", "png"):
        (folder / f"{name}.{end}").write_text(PICTURE)


def _fill(results: Results) -> None:
    """What the pages start, predict and draw need, and the dense run of seed 0."""
    recipe = live.recipe_of("digits", "resnet8", 0)
    state = State.of(build("resnet8", shape=(1, 8, 8), classes=10, width=4, seed=0))
    state = State(state.params, state.buffers, {name: torch.zeros_like(p) for name, p in state.params.items()})
    curve = {str(s): round(0.98 - 0.9 * (s / 100) ** 4, 4) for s in range(100)}
    scalars = {"validation_accuracy": 0.98, "test_accuracy": 0.97, "steps": 31, "prunable_weights": 4724}
    curves = {"step": [0, 31], "validation_accuracy": [0.1, 0.98], "weight_sparsity": [0.0, 0.0], COLLAPSE: curve}
    results.put(recipe, Dense(state, Result(to_dict(recipe), scalars, curves, {"device": DEVICE})))
    for page in (start.page(results), predict.page(results), draw.page(results)):
        for e in page.needs:
            end = ENDS[e.retrain.schedule] - 0.001 * e.recipe.seed
            scalars = {"validation_accuracy": end, "test_accuracy": end - 0.01, "stopped": False, "allr_factor": 0.75}
            scalars |= {"dense_validation_accuracy": 0.98, "pruned_validation_accuracy": 0.1, "steps": 9}
            scalars |= {"sparsity_achieved": e.prune.sparsity}
            points = np.linspace(0.1, end, 4).round(4).tolist()
            curves = {
                "step": [0, 3, 6, 9],
                "validation_accuracy": points,
                "weight_sparsity": [0.95] * 4,
                "lr": [0.1] * 4,
            }
            results.put(e, Result(to_dict(e), scalars, curves, {"device": DEVICE}))
