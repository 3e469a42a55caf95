"""What speed is claimed by: the usual loop does the same work as ours, and the README's table is the results'."""

import copy
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("torchvision")

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import bench  # noqa: E402
import table  # noqa: E402
import usual  # noqa: E402

from retrainlab.batched import walks  # noqa: E402
from retrainlab.config import SGD, Prune, Recipe  # noqa: E402
from retrainlab.experiment import setting, train_dense  # noqa: E402
from retrainlab.methods import imp  # noqa: E402
from retrainlab.training import evaluate  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def retrained():
    """A trained network after pruning and the usual loop: (setup, masks, network, accuracy, seconds, gradient steps)."""
    recipe = Recipe(width=4, epochs=3)
    setup, _ = setting(recipe, CPU)
    dense = train_dense(recipe, "cpu")
    masks = imp.prune_state(dense.state, Prune(0.5), setup.prunable, 0, 0)
    model = copy.deepcopy(setup.model)
    model.load_state_dict(dense.state.params | dense.state.buffers)
    rates, real = [], torch.optim.SGD.step

    def step(self, *args):
        rates.append({group["lr"] for group in self.param_groups})
        return real(self, *args)

    torch.optim.SGD.step = step
    try:
        curve = [0.05 - 0.001 * i for i in range(40)]
        accuracy, seconds = usual.retrain(model, masks, *usual.loaders(setup.data, 32, 0), curve, sgd=SGD(), device=CPU)
    finally:
        torch.optim.SGD.step = real
    return setup, masks, model, accuracy, seconds, rates


def test_the_usual_loop_makes_one_step_for_each_learning_rate(retrained):
    assert retrained[-1] == [{0.05 - 0.001 * i} for i in range(40)]


def test_the_usual_loop_prunes_as_we_do_and_learns(retrained):
    setup, masks, model, accuracy, seconds, _ = retrained
    weights = dict(model.named_parameters())
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in masks.items())
    buffers = dict(model.named_buffers())
    ours, _ = evaluate(
        setup.model, {n: p.detach() for n, p in weights.items()}, buffers, setup.data, setup.data.validation
    )
    assert ours == pytest.approx(accuracy) and accuracy > 0.4 and seconds > 0


def test_the_usual_loop_sees_the_images_we_see(retrained):
    data = retrained[0].data
    _, loader = usual.loaders(data, 32, 0)
    images, labels = next(iter(loader))
    torch.testing.assert_close(images, data.normalise(data.validation.images), rtol=1e-4, atol=1e-4)
    assert torch.equal(labels, data.validation.labels)


def test_members_of_a_benchmark_share_no_slot():
    case = bench.Case("resnet8", (1, 8, 8), 32, 4)
    assert len(walks(case.jobs(case.setup(CPU), 16, 3))) == 16


def test_the_traffic_of_resnet20_is_counted_by_hand():
    outputs = 7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2
    assert outputs == 188_416
    case = bench.Case("resnet20", (3, 32, 32), 128)
    assert bench.traffic(case) == 12 * 4 * 128 * outputs and bench.traffic(case, "bfloat16") == 12 * 2 * 128 * outputs


def test_the_readmes_table_is_that_of_the_results():
    readme = (FOLDER.parent / "README.md").read_text()
    assert table.put(readme, table.table(table.records())) == readme
