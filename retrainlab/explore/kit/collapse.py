"""A trained network, got or else trained, and what pruning does to it: a panel of a chart, and sentences."""

from dataclasses import replace

import torch

from retrainlab import obs
from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe
from retrainlab.data.dataset import counts
from retrainlab.explore.kit import chart
from retrainlab.phrases import percent
from retrainlab.study.collapse import Network, network, stored
from retrainlab.study.making import Watch
from retrainlab.study.measured import Dense
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import prepare
from retrainlab.training.engine import Engine
from retrainlab.training.state import State

SEEDS = 10  # among which weights are looked for, where those of a seed are not stored
MOST = 1e12  # products and sums that a reader waits for, who cannot stop them: a few minutes


def check_patience(recipe: Recipe, prune: Prune, device: torch.device) -> None:
    """Raise BadInput for a score that takes longer than a reader waits who cannot stop it."""
    if prune.score == "obs" and device.type == "cpu":
        setup, _ = prepare(recipe, device)
        if obs.work(setup.weights(State.of(setup.model))) > MOST:
            raise BadInput(
                f"Optimal Brain Surgeon takes ten minutes to hours for {recipe.model} on a CPU, without a stop; choose "
                "another score or network here, or run it by `retrainlab study`."
            )


def trained(recipe: Recipe, prune: Prune, results: Results, device: torch.device, watch: Watch = Watch()) -> Network:
    """A recipe's network, stored or else trained now, and scored for the prune.

    Raises BadInput if it has diverged, if its training was stopped, for then nothing is stored, and if its score would take
    too long.
    """
    results = Results.at(results)  # the images may have changed since
    check_patience(recipe, prune, device)
    dense = stored(recipe, results, device)
    if dense is None:
        prepare(recipe, device)  # says what is missing
        made = dict(results.make([recipe], device, watch, Engine())).get(recipe)
        if not isinstance(made, Dense):
            raise BadInput("The training of the network was stopped.")
        dense = made
    watch.tell(1.0, "Scoring the weights ...")
    found = network(recipe, prune, dense, device)
    if found.scored is None:
        seeds = (replace(recipe, seed=seed) for seed in range(SEEDS))
        found.other = next((r.seed for r in seeds if results.dense(r, device) is not None), None)
    return found


def check_sparsity(result: Result, sparsity: float, weights: int) -> None:
    """Raise AssertionError unless exactly round(sparsity * weights) weights ended at 0."""
    zeros, wanted = round(result.scalars["sparsity_achieved"] * weights), round(sparsity * weights)
    if zeros != wanted:
        raise AssertionError(f"{zeros} of {weights} weights are 0 at the end, not {wanted}")


def words(network: Network, sparsity: float) -> str:
    """What pruning to a sparsity in percent does, as far as it is known; empty before it is measured."""
    near = nearest(sparsity)
    if near not in network.accuracies:
        return "" if network.scored is not None and network.measurable else unknown_words(network)
    recipe = network.recipe
    classes = counts(recipe.data, image_size=recipe.image_size).classes
    told = pruned_words(near, network.weights, network.level, network.accuracies[near], classes)
    told += " The validation images were trained on, too." if recipe.all_train else ""
    told += f" {unknown_words(network)}" if network.scored is None else ""
    return told if near == sparsity else f"At {near} %: {told}"


def unknown_words(network: Network) -> str:
    """Why the accuracy straight after pruning, or more than that, cannot be shown."""
    about = f"{network.recipe.model} on {network.recipe.data}, seed {network.recipe.seed}"
    if network.scored is None:
        instead = "" if network.other is None else f": choose seed {network.other} to see those pruned"
        return f"Of {about}, the store has what was measured, but not the weights{instead}."
    return f"The accuracy of {about} straight after pruning is not stored, and the images to measure it are not here."


def nearest(sparsity: float) -> int:
    """The nearest sparsity, in percent, at which accuracy after pruning is measured."""
    return min(99, round(sparsity))


def panel(network: Network | None, sparsity: float, ylabel: str) -> tuple[dict, str]:
    """Validation accuracy straight after pruning over sparsity, and the same in words; an empty frame without a network.

    sparsity: in percent, where a marker stands.
    """
    accuracies, near = {} if network is None else network.accuracies, nearest(sparsity)
    known, marks = sorted(accuracies), []
    alt = "An empty frame for validation accuracy straight after pruning: the trained network is not there yet."
    if network is not None and (accuracies or not network.measurable):
        dense = percent(network.level)
        marks.append(chart.level(100 * network.level, f"dense: {dense}"))
        alt = f"Validation accuracy straight after pruning is not known. Dense: {dense}."
    if network is not None and accuracies:
        some = sorted({s for s in (0, 20, 40, 60, 80, 90, 99, near) if s in accuracies})
        pairs = ", ".join(f"{percent(accuracies[s])} at {s} %" for s in some)
        alt = f"Validation accuracy straight after pruning against weights removed: {pairs}. Dense: {dense}."
    marks.append(chart.line(known, [100 * accuracies[s] for s in known], {"color": chart.BLUE}, width=2.4))
    marks.append(chart.cut(sparsity))
    if near in accuracies:
        marks.append(chart.point(near, 100 * accuracies[near], {"color": chart.RED}))
    return chart.panel(marks, x=(0, 100), y=(0, 108), xlabel="Weights removed (%)", ylabel=ylabel), alt


def pruned_words(sparsity: int, weights: int, dense: float, accuracy: float, classes: int) -> str:
    """How many weights pruning to `sparsity` percent leaves, and what it does to the accuracy `dense` (shares)."""
    removed = round(sparsity / 100 * weights)
    left = weights - removed
    ratio = f", about 1 in {weights / left:.3g}" if sparsity >= 50 else ""
    text = f"{left:,} of {weights:,} weights are left ({100 - sparsity} %{ratio}). Validation accuracy "
    if round(1000 * accuracy) == round(1000 * dense):
        return text + f"is what it was: {percent(accuracy)}."
    guess = f", no better than guessing one of {classes} classes" if accuracy < 1.3 / classes else ""
    return text + f"goes from {percent(dense)} to {percent(accuracy)}{guess}."
