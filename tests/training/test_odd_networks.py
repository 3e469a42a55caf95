"""Networks of other kinds than the kit's own train alike in the loop and many at once, on images, rows and sequences."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from retrainlab import obs, scores
from retrainlab.checks import BadInput
from retrainlab.config import Prune
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.layers import frozen
from retrainlab.training.engine import Engine
from retrainlab.training.state import Job, State
from tests.helpers.members import alone, assert_alike, identical, masked, masks_of, rates, setup_of, train_together
from tests.helpers.networks import Depthwise, Looking, transformer
from tests.helpers.odd import Lstm, Mixer, Permuted, Recurrent, backbone, grouped, sequence, table, tied, transposed

NETWORKS = {
    "GroupNorm and depthwise": (grouped, (3, 8, 8)),
    "inverted residuals": (lambda: Depthwise((3, 8, 8), 3), (3, 8, 8)),
    "transformer": (lambda: transformer((3, 8, 8), 3), (3, 8, 8)),
    "mixer": (Mixer, (3, 8, 8)),
    "tied weights": (tied, (3, 8, 8)),
    "transposed convolution": (transposed, (3, 8, 8)),
    "recurrent": (Recurrent, (3, 8, 8)),
    "frozen backbone": (backbone, (3, 8, 8)),
    "rows of a table": (table, (20,)),
    "sequences": (sequence, (2, 16)),
}
ALONE = {
    "LSTM": (Lstm, (3, 8, 8)),
    "path that depends on numbers": (lambda: Looking((3, 8, 8), 3), (3, 8, 8)),
    "spectral_norm": (lambda: nn.Sequential(torch.nn.utils.spectral_norm(nn.Linear(20, 6)), nn.Linear(6, 3)), (20,)),
    "dropout of a transposed tensor": (Permuted, (6, 8)),
}


def inputs(shape) -> Dataset:
    """44 / 20 / 6 inputs of any shape, taken as they are."""
    generator = torch.Generator().manual_seed(0)

    def split(count):
        labels = torch.arange(count) % 3
        noise = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
        return Split(noise + labels.view(-1, *[1] * len(shape)), labels)

    return Dataset("inputs", split(44), split(20), split(6), 3, None, None, Augmentation())


def setup_for(name):
    make, shape = (NETWORKS | ALONE)[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
    return setup_of(model, inputs(shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_many_at_once_end_as_in_the_loop(name):
    setup = setup_for(name)
    start = State.of(setup.model)
    jobs = []
    for i, steps in enumerate((8, 5, 3)):
        method = masked.Masked(masks_of(setup, i))
        jobs.append(Job(masked.apply(start, method.masks), rates(steps, 0.01, i), (i % 2, "t"), method, 2))
    mine = train_together(setup, jobs)
    assert_alike(mine, alone(setup, jobs))
    trained = mine[0].state
    assert all(not trained.params[n][~mask].any() for n, mask in masks_of(setup, 0).items())
    assert not any(torch.equal(trained.params[n], jobs[0].start.params[n]) for n in setup.prunable)


@pytest.mark.parametrize("name", [*NETWORKS, *ALONE])
def test_it_is_known_which_networks_can_be_stacked_and_the_others_train_alone(name):
    setup = setup_for(name)
    assert setup.stackable == (name in NETWORKS)
    if name in ALONE:
        start = State.of(setup.model)
        jobs = [Job(start, rates(3, 0.01, i), (0, "t"), masked.Masked({}), 1) for i in range(2)]
        found = dict(Engine("batched", 2).train(setup, jobs))
        for mine, wanted in zip((found[0], found[1]), alone(setup, jobs)):
            assert identical(mine.state, wanted.state)


def test_frozen_parameters_stay_bit_for_bit_and_are_not_pruned():
    setup = setup_for("frozen backbone")
    still = frozen(setup.model)
    assert len(still) == 8 and not set(still) & set(setup.prunable)
    start = State.of(setup.model)
    job = Job(start, rates(5), (0, "t"))
    for trained in (*alone(setup, [job]), *train_together(setup, [job, replace(job, seed=(1, "t"))])):
        own = dict(setup.model.named_parameters())
        assert all(torch.equal(trained.state.buffers[name], own[name]) for name in still)
        assert not trained.state.params.keys() & set(still)


def test_rows_of_a_transposed_convolution_are_inputs_and_so_no_filters_and_no_n_m_pattern():
    setup = setup_for("transposed convolution")
    state = State.of(setup.model)
    weights = setup.weights(state)
    assert list(weights) == ["0.weight", "2.weight", "4.weight"]
    assert list(scores.convolutions(weights, setup)) == ["0.weight"]
    with pytest.raises(BadInput, match="2.weight, a transposed convolution, are inputs"):
        scores.score(Prune(0.5, structure="n:m"), weights, None, setup, state)
    with pytest.raises(BadInput, match="cannot tell what '2.weight' is multiplied with"):
        obs.check(setup, state)
