"""The curve straight after pruning: measured against a study's own numbers, kept with the network, shown without images."""

import pytest
import torch

from retrainlab import metrics, study
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.data import dataset
from retrainlab.study import collapse, stages
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from retrainlab.training import cycles

CPU = torch.device("cpu")
RECIPE = Recipe(model="mlp", width=16, epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with a dense network and one result at 60 %."""
    store = Store(tmp_path_factory.mktemp("store"))
    experiment = Experiment(RECIPE, Prune(0.6), Retrain(budget=0.0))
    study.run_study([experiment], store=store, jobs=1, engine="loop", progress=lambda *_: None)
    return store, experiment


def of(store: Store) -> Results:
    return Results.at(store)


def test_the_curve_is_what_a_study_finds_and_is_kept_with_the_network(trained, monkeypatch):
    store, experiment = trained
    before = of(store).dense(RECIPE, CPU)
    shares: list[float] = []
    curve = collapse.measured(of(store), RECIPE, CPU, shares.append)
    assert sorted(curve) == list(range(100)) and shares == [i / 100 for i in range(1, 101)]
    assert curve[0] == before.result.scalars["validation_accuracy"]
    assert curve[60] == of(store).of(experiment).scalars["pruned_validation_accuracy"]

    after = of(store).dense(RECIPE, CPU)
    assert after.result.curves.pop(collapse.COLLAPSE) == {str(s): curve[s] for s in range(100)}
    assert after.result.provenance.pop(collapse.COLLAPSE).startswith("cpu")
    assert (after.result.scalars, after.result.curves) == (before.result.scalars, before.result.curves)
    assert after.result.provenance == before.result.provenance and after.weights == before.weights
    assert all(torch.equal(m, after.state.momentum[name]) for name, m in before.state.momentum.items())

    monkeypatch.setattr(collapse, "validate", lambda *_: pytest.fail("it was kept"))
    assert collapse.measured(of(store), RECIPE, CPU) == curve


def test_weights_alone_give_the_masks_without_an_image(trained, monkeypatch):
    store, _ = trained
    dense = of(store).dense(RECIPE, CPU)
    setup, original = stages.prepare(RECIPE, CPU)
    want = cycles.prune_state(setup, dense.state, Prune(0.9), 0, 0)

    def absent(*_, **__):
        raise BadInput("The images are not here.")

    monkeypatch.setattr(stages, "load", absent)
    monkeypatch.setattr(dataset, "load", absent)
    network = collapse.network(RECIPE, Prune(allocation="global"), dense, CPU)
    assert network.peak == original.peak and network.prunable == setup.prunable and not network.measurable
    assert all(torch.equal(mask, want[name]) for name, mask in network.masks(0.9).items()) and len(want) == 3
    assert network.layers(0.9) == metrics.layer_sparsity(want)
    with pytest.raises(BadInput, match="The images are not here"):
        collapse.network(RECIPE, Prune(score="obd"), dense, CPU)


def test_a_record_without_weights_still_tells_its_level_and_its_curve(trained, tmp_path):
    store, _ = trained
    curve, dense = collapse.measured(of(store), RECIPE, CPU), of(store).dense(RECIPE, CPU)
    bare = Store(tmp_path)
    bare.write("dense", of(bare).key(RECIPE), dense.result, None)
    network = collapse.network(RECIPE, Prune(), collapse.stored(RECIPE, of(bare), CPU), CPU)
    assert network.whole and network.accuracies == curve and network.level == curve[0]
    assert network.steps == dense.result.scalars["steps"] and network.scored is None
    assert network.masks(0.5) == {} and network.layers(0.5) == {}
    assert collapse.measured(of(bare), RECIPE, CPU) == curve


def test_what_cannot_be_measured_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(BadInput, match="No weights of mlp on digits, seed 0, are stored; train it first"):
        collapse.measured(of(Store(tmp_path)), RECIPE, CPU)
    lost = Recipe(model="mlp", width=4, epochs=1, lr=1e30)
    list(of(Store(tmp_path)).make([lost], CPU))
    with pytest.raises(BadInput, match="no trained network to show .diverged"):
        collapse.measured(of(Store(tmp_path)), lost, CPU)


def test_only_the_usual_prune_is_kept(trained, tmp_path):
    store, _ = trained
    dense, own = of(store).dense(RECIPE, CPU), of(Store(tmp_path))
    network = collapse.network(RECIPE, Prune(allocation="uniform"), dense, CPU)
    assert network.accuracies == {}
    network.accuracies = dict.fromkeys(collapse.ORDER, 0.5)
    network.keep(own)
    assert own.told(RECIPE) is None
    assert collapse.usual(Prune(0.5)) and not collapse.usual(Prune(cycles=2))
