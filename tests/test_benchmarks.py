"""What speed is claimed by: the usual loop does the same work as ours, and the page's table is the results'."""

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
import smaller  # noqa: E402
import table  # noqa: E402
import usual  # noqa: E402

from retrainlab.config import SGD, Prune, Recipe  # noqa: E402
from retrainlab.study.stages import prepare, train_dense  # noqa: E402
from retrainlab.training import cycles  # noqa: E402
from retrainlab.training.loop import evaluate  # noqa: E402
from retrainlab.training.slots import in_slots  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def retrained():
    """A trained network after pruning and the usual loop: (setup, masks, network, accuracy, seconds, gradient steps)."""
    recipe = Recipe(width=4, epochs=3)
    setup, _ = prepare(recipe, CPU)
    dense = train_dense(recipe, "cpu")
    masks = cycles.prune_state(setup, dense.state, Prune(0.5), 0, 0)
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
    assert len(in_slots(case.jobs(case.setup(CPU), 16, 3))) == 16


def test_the_traffic_of_resnet20_is_counted_by_hand():
    outputs = 7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2
    assert outputs == 188_416
    case = bench.Case("resnet20", (3, 32, 32), 128)
    assert bench.traffic(case) == 12 * 4 * 128 * outputs and bench.traffic(case, "bfloat16") == 12 * 2 * 128 * outputs


def test_the_arithmetic_of_resnet20_is_counted_by_hand():
    stages = [16 * 16 * 9 * 32**2 * 6, (16 + 5 * 32) * 32 * 9 * 16**2, (32 + 5 * 64) * 64 * 9 * 8**2]
    assert bench.arithmetic(bench.Case("resnet20", (3, 32, 32), 4)) == 6 * 4 * (
        3 * 16 * 9 * 32**2 + sum(stages) + 64 * 10
    )


def test_the_floor_is_the_longer_of_moving_and_computing():
    case = bench.Case("resnet20", (3, 32, 32), 128)
    fast = {"copy_bytes_per_second": 3e12, "float32_flops": 5e13, "bfloat16_flops": 8e14}
    assert bench.floor(case, "bfloat16", fast) == bench.traffic(case, "bfloat16") / 3e12
    assert bench.floor(case, "float32", fast | {"float32_flops": 1e12}) == bench.arithmetic(case) / 1e12


def test_the_ladder_ends_where_memory_does(monkeypatch):
    """On a device with room for 8 members in float32 and 16 in bfloat16."""

    def measure(kind, case, members, device, seconds, precision="float32"):
        if members > (8 if precision == "float32" else 16):
            raise torch.OutOfMemoryError
        return {"kind": kind, "members": members, "ms_per_member_step": 8 / members}

    monkeypatch.setattr(bench, "measure", measure)
    rows = list(bench.ways(bench.CASES["cuda"][0], torch.device("cuda"), 1.0))
    assert [r["kind"] for r in rows[:2]] == ["usual", "loop"] and {r["kind"] for r in rows[2:]} == {"graph"}
    assert [r["members"] for r in rows if r["precision"] == "bfloat16"] == [1, 2, 4, 8, 16]
    assert [r["members"] for r in rows[2:] if r["precision"] == "float32"] == [1, 2, 4, 8]


def test_a_case_is_measured_and_told(monkeypatch):
    monkeypatch.setattr(bench, "CASES", {"cpu": [bench.Case("resnet8", (1, 8, 8), 8, 4)] * 2})
    monkeypatch.setattr(bench, "MEMBERS", {"cpu": (1, 2)})
    monkeypatch.setattr(bench, "measure", bench._measured)  # in this process
    monkeypatch.setattr(bench, "cores", lambda: 0)  # and no others that load images
    *_, found = bench.steps(CPU, 0.02)
    kinds = [(row["kind"], row["members"]) for row in found["cases"][1]["rows"]]
    assert kinds == [("usual", 1), ("loop", 1), ("batched", 1), ("batched", 2)]
    rows = found["cases"][0]["rows"]
    assert all(row["images_per_second"] > 0 and row["peak_mib"] > 50 for row in rows) and rows[0]["times_usual"] == 1
    told = table.table([{"device": "cpu, 1 core", "torch": "2", "steps": found}])
    assert told.count("| usual loop | 1 |") == 2 and "CUDA GPU: not measured." in told


def test_a_gpus_table_has_every_row_of_its_first_network_and_few_of_the_others(monkeypatch):
    """Also what share of the floor each reaches: here a step moves 1 GB in 1 ms, and takes 4 ms a member at least."""
    device = torch.device("cuda")
    monkeypatch.setattr(bench, "CASES", {"cuda": bench.CASES["cuda"][:2]})
    monkeypatch.setattr(bench, "MEMBERS", {"cuda": (1, 2, 4)})
    monkeypatch.setattr(bench, "traffic", lambda case, precision: 1e9)
    ceilings = {"copy_bytes_per_second": 1e12, "float32_flops": 1e30, "bfloat16_flops": 1e30}
    monkeypatch.setattr(bench, "ceilings", lambda device: ceilings)

    def measure(kind, case, members, device, seconds, precision="float32"):
        ms = {"usual": 40.0, "loop": 20.0}.get(kind, {1: 8.0, 2: 4.0, 4: 5.0}[members])
        rest = dict.fromkeys(("images_per_second", "peak_mib"), 1.0)
        return {"kind": kind, "members": members, "ms_per_member_step": ms} | rest

    monkeypatch.setattr(bench, "measure", measure)
    parts = [len(found["cases"]) for found in bench.steps(device, 1.0)]
    assert parts == [1, 2], "what is there after each network is told"
    *_, found = bench.steps(device, 1.0)
    best = [row for row in found["cases"][1]["rows"] if row["members"] == 2]
    assert [row["share_of_floor"] for row in best] == [0.25, 0.25] and [row["times_usual"] for row in best] == [10, 10]
    told = table.table([{"device": "cuda, some GPU", "torch": "2", "steps": found}])
    first, second = told.split("; resnet56")
    assert [part.count("| engine, CUDA graph") for part in (first, second)] == [6, 4]
    assert "| 25% |" in second and "a copy moves 1.00 TB/s" in told and "not measured" not in told


def test_the_pages_table_is_that_of_the_results():
    page = (FOLDER.parent / "docs" / "speed.md").read_text()
    assert table.put(page, table.table(table.records())) == page


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_a_row_of_the_smaller_networks_has_their_multiply_adds_and_times(name):
    structure = {"mlp": "neurons", "resnet8": "filters"}[name]
    cells = smaller.row((name, (1, 8, 8), structure), 0.5, CPU, 1)
    assert cells[:2] == [name, structure] and all(float(cell) > 0 for cell in cells[2:]) and len(cells) == 9
    if name == "mlp":
        assert cells[2] == f"{(64 * 300 + 300 * 100 + 1000) / (64 * 150 + 150 * 50 + 500):.2f}"
