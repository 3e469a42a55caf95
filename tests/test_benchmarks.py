"""What speed is claimed by: the usual loop does the same work as ours, and the page's table is the results'."""

import copy
import json
import math
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("torchvision")

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import bench  # noqa: E402
import cases  # noqa: E402
import cluster  # noqa: E402
import floor  # noqa: E402
import parts  # noqa: E402
import scale  # noqa: E402
import smaller  # noqa: E402
import standins  # noqa: E402
import steps  # noqa: E402
import study  # noqa: E402
import table  # noqa: E402
import usual  # noqa: E402
import ways  # noqa: E402
from steps import Limits  # noqa: E402
from ways import Way  # noqa: E402

from retrainlab.checks import BadInput  # noqa: E402
from retrainlab.config import SGD, Prune, Recipe  # noqa: E402
from retrainlab.study.stages import prepare, train_dense  # noqa: E402
from retrainlab.training import cycles  # noqa: E402
from retrainlab.training.engine import Engine  # noqa: E402
from retrainlab.training.loop import evaluate  # noqa: E402
from retrainlab.training.slots import in_slots  # noqa: E402

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FREE = Limits(1.0, math.inf, math.inf)


@pytest.fixture(scope="module")
def retrained():
    """A trained network after pruning and the usual loop: (setup, masks, network, what came of it, gradient steps)."""
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
        done = usual.retrain(model, masks, *usual.loaders(setup.data, 32, 0), curve, sgd=SGD(), device=CPU)
    finally:
        torch.optim.SGD.step = real
    return setup, masks, model, done, rates


def test_the_usual_loop_makes_one_step_for_each_learning_rate(retrained):
    assert retrained[-1] == [{0.05 - 0.001 * i} for i in range(40)]


def test_the_usual_loop_prunes_as_we_do_and_learns(retrained):
    setup, masks, model, done, _ = retrained
    weights = dict(model.named_parameters())
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in masks.items())
    buffers = dict(model.named_buffers())
    ours, _ = evaluate(
        setup.model, {n: p.detach() for n, p in weights.items()}, buffers, setup.data, setup.data.validation
    )
    assert ours == pytest.approx(done.accuracy) and done.accuracy > 0.4


def test_the_usual_loop_sees_the_images_we_see(retrained):
    data = retrained[0].data
    _, loader = usual.loaders(data, 32, 0)
    images, labels = next(iter(loader))
    torch.testing.assert_close(images, data.normalise(data.validation.images), rtol=1e-4, atol=1e-4)
    assert torch.equal(labels, data.validation.labels)


def test_evaluations_do_not_count_into_the_usual_loops_steps(retrained, monkeypatch):
    """On a clock that moves when the network is evaluated, an hour each time, and by a second with each step."""
    setup, masks, model, *_ = retrained
    clock, real = [0.0], torch.optim.SGD.step

    def evaluate(*args) -> float:
        clock[0] += 3600
        return 0.5

    def step(self, *args):
        clock[0] += 1
        return real(self, *args)

    monkeypatch.setattr(usual.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(usual, "evaluate", evaluate)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    pair, own = usual.loaders(setup.data, 32, 0), copy.deepcopy(model)
    done = usual.retrain(own, masks, *pair, [0.1] * 10, sgd=SGD(), device=CPU, evaluations=5)
    assert (done.seconds, done.in_steps) == (6 * 3600 + 10, 10)


@pytest.mark.parametrize(
    ("cores", "usually", "tried"), [(1, 1, [1, 2]), (2, 2, [2, 4]), (16, 4, [2, 4, 8, 16]), (6, 4, [2, 4, 6, 8])]
)
def test_the_usual_loop_is_measured_with_several_numbers_of_workers(monkeypatch, cores, usually, tried):
    monkeypatch.setattr(usual, "cores", lambda: cores)
    assert usual.usually() == usually and usual.worth_trying() == tried


def test_members_of_a_benchmark_share_no_slot():
    case = cases.Case("resnet8", (1, 8, 8), 32, 4)
    assert len(in_slots(case.jobs(case.setup(CPU), 16, 3))) == 16


def test_an_epoch_is_long_enough_for_the_workers_of_a_loader():
    setup = cases.Case("resnet8", (1, 8, 8), 32, 4).setup(CPU)
    assert setup.data.steps_per_epoch(32) >= 60 and setup.data.train.images.float().std() > 60


def test_the_traffic_of_resnet20_is_counted_by_hand():
    outputs = 7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2
    assert outputs == 188_416
    case = cases.Case("resnet20", (3, 32, 32), 128)
    assert floor.traffic(case) == 12 * 4 * 128 * outputs and floor.traffic(case, "bfloat16") == 12 * 2 * 128 * outputs


def test_the_arithmetic_of_resnet20_is_counted_by_hand():
    stages = [16 * 16 * 9 * 32**2 * 6, (16 + 5 * 32) * 32 * 9 * 16**2, (32 + 5 * 64) * 64 * 9 * 8**2]
    assert floor.arithmetic(cases.Case("resnet20", (3, 32, 32), 4)) == 6 * 4 * (
        3 * 16 * 9 * 32**2 + sum(stages) + 64 * 10
    )


def test_the_floor_is_the_longer_of_moving_and_computing():
    case = cases.Case("resnet20", (3, 32, 32), 128)
    fast = {"copy_bytes_per_second": 3e12, "float32_flops": 5e13, "bfloat16_flops": 8e14}
    assert floor.floor(case, "bfloat16", fast) == floor.traffic(case, "bfloat16") / 3e12
    assert floor.floor(case, "float32", fast | {"float32_flops": 1e12}) == floor.arithmetic(case) / 1e12


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that moves 1 GB in 1 ms, as much as any step there does, beside 16 cores; what is measured on it is replaced."""
    ceilings = {"copy_bytes_per_second": 1e12, "float32_flops": 1e30, "bfloat16_flops": 1e30}
    monkeypatch.setattr(steps, "ceilings", lambda device: ceilings)
    monkeypatch.setattr(floor, "traffic", lambda case, precision: 1e9)
    monkeypatch.setattr(floor, "arithmetic", lambda case: 1)
    monkeypatch.setattr(usual, "cores", lambda: 16)
    monkeypatch.setattr(parts, "measure", lambda *args: [])

    def measure(way, case, device, seconds):
        """The loops' ms are 40 with 4 workers, 20 with 8, 20; the engine's 8 / members until 16 members, and then 1."""
        ms = {"usual": {4: 40.0, 8: 20.0}.get(way.workers, 80.0), "loop": 20.0}.get(way.kind, max(8 / way.members, 0.5))
        ms += 0.5 * (way.members > 16)
        rest = {"images_per_second": 128e3 / ms, "peak_mib": 1.0}
        return way.told | {"ms_per_member_step": ms} | rest

    monkeypatch.setattr(ways, "measure", measure)
    return monkeypatch


def found(limits: Limits = FREE) -> dict:
    *_, last = steps.steps(CUDA, limits)
    return {case["case"].split(",")[0]: case["rows"] for case in last["cases"]}


def which(rows: list[dict], kind: str, precision: str = "bfloat16", unfolded: bool = True) -> list[int]:
    own = (kind, precision, unfolded)
    return [r["members"] for r in rows if (r["kind"], r["precision"], r.get("unfolded", True)) == own]


def test_a_gpus_rows_are_those_that_tell_something(gpu):
    rows = found()
    first = rows["resnet20"]
    assert [r["workers"] for r in first if r["kind"] == "usual"] == [2, 4, 8, 16]
    assert which(first, "graph") == [1, 2, 4, 8, 16, 32, 64] and which(first, "graph", "float32") == [1, 16, 64]
    assert which(first, "compiled") == [1, 4, 16, 64] and which(first, "loop", "float32") == [1]
    assert which(first, "graph", unfolded=False) == which(first, "compiled", unfolded=False) == [16]
    for name in ("resnet56", "resnet18", "vgg16", "wrn28-10"):
        assert which(rows[name], "graph") == [1, 4, 16, 64] and which(rows[name], "compiled") == [16], name
        assert [r["workers"] for r in rows[name] if r["kind"] == "usual"] == [4, 8], "the usual number, and the best"


def test_rows_stand_beside_the_usual_loop_and_beside_it_at_its_best(gpu):
    for row in found()["resnet20"]:
        assert row["times_usual"] == 40 / row["ms_per_member_step"] == 2 * row["times_best"]
        assert row["share_of_floor"] == 1 / row["ms_per_member_step"]


def test_a_network_for_which_the_best_number_of_workers_is_not_measured_has_no_such_ratio(gpu):
    real = ways.measure

    def measure(way, case, device, seconds):
        if case.model == "vgg16" and way.kind == "usual" and way.workers == 8:
            raise ValueError
        return real(way, case, device, seconds)

    gpu.setattr(ways, "measure", measure)
    has = {name: {"times_best" in row for row in rows} for name, rows in found().items()}
    assert has.pop("vgg16") == {False} and set.union(*has.values()) == {True}


def test_the_ladder_ends_where_memory_does(gpu):
    """On a device with room for 8 members in float32 and 16 in bfloat16; nothing larger is tried again."""
    real, tried = ways.measure, []

    def measure(way, case, device, seconds):
        tried.append((case.model, way))
        if way.members > (8 if way.precision == "float32" else 16):
            raise torch.OutOfMemoryError
        return real(way, case, device, seconds)

    gpu.setattr(ways, "measure", measure)
    rows = found()
    assert which(rows["resnet20"], "graph") == [1, 2, 4, 8, 16] and which(rows["resnet20"], "graph", "float32") == [1]
    assert which(rows["vgg16"], "graph") == [1, 4, 16]
    assert which(rows["resnet20"], "compiled") == [1, 4, 16] and len(tried) == len(set(tried))
    assert ("resnet20", Way("compiled", 64, "bfloat16")) not in tried


def test_a_row_that_fails_is_told_and_the_others_are_measured(gpu, capsys):
    real = ways.measure

    def measure(way, case, device, seconds):
        if way.kind == "usual" and way.workers == 4 or way.kind == "compiled":
            raise ValueError("no compiler")
        return real(way, case, device, seconds)

    gpu.setattr(ways, "measure", measure)
    rows = found()["resnet20"]
    assert {r["kind"] for r in rows} == {"usual", "loop", "graph"}
    assert not any("times_usual" in row for row in rows) and all("times_best" in row for row in rows)
    assert "compiled, 16 members, bfloat16: failed" in capsys.readouterr().out


def test_what_does_not_fit_into_the_time_is_left_out_the_least_telling_first(gpu):
    """A row takes 3 s and one that compiles 20 s, on a clock that nothing else moves."""
    clock, real = [0.0], ways.measure

    def measure(way, case, device, seconds):
        clock[0] += 20 if way.kind == "compiled" else 3
        return real(way, case, device, seconds)

    gpu.setattr(ways, "measure", measure)
    gpu.setattr(steps.time, "perf_counter", lambda: clock[0])
    rows = found(Limits(1.0, math.inf, 65.0))
    assert which(rows["resnet20"], "compiled") == [1, 16, 64] and not which(rows["resnet56"], "compiled")
    clock[0] = 0.0
    rows = found(Limits(1.0, 37.0, 65.0))
    assert list(rows) == ["resnet20"] and which(rows["resnet20"], "graph") == [1, 2, 4, 8, 16, 64] and clock[0] <= 37


def test_the_time_left_is_within_the_limits(gpu):
    progress, rest = steps.Progress(Limits(1.0, math.inf, 30.0)), [(c, w) for c, w in steps.plan("cuda")]
    others = sum(steps.COSTS[way.kind] for _, way in rest if way.kind != "compiled")
    assert progress.left(rest) == others + 30
    assert steps.Progress(Limits(1.0, 50.0, 30.0)).left(rest) <= 50


def test_a_case_is_measured_and_told(monkeypatch):
    monkeypatch.setattr(cases, "EPOCH", 4)
    monkeypatch.setattr(ways, "PACE", 4)
    monkeypatch.setattr(ways, "measure", ways.measured)  # in this process
    monkeypatch.setattr(parts, "measure", lambda c, many, *rest: [parts.measured(c, m, *rest) for m in many])
    monkeypatch.setattr(usual, "cores", lambda: 0)  # and no others that load images
    monkeypatch.setattr(steps, "SPLIT", {"cpu": ((2,), "float32")})
    case = cases.Case("resnet8", (1, 8, 8), 8, 4)
    plan = [(case, way) for way in (Way("usual"), Way("usual"), Way("loop"), Way("batched", 1), Way("batched", 2))]
    monkeypatch.setattr(steps, "plan", lambda kind: plan)
    monkeypatch.setattr(steps, "CASES", {"cpu": [case]})
    *_, found = steps.steps(CPU, Limits(0.02, math.inf, math.inf))
    rows = found["cases"][0]["rows"]
    kinds = [(row["kind"], row["members"]) for row in rows]
    assert kinds == [("usual", 1), ("loop", 1), ("batched", 1), ("batched", 2)]
    assert all(row["images_per_second"] > 0 and row["peak_mib"] > 50 for row in rows) and rows[0]["times_usual"] == 1
    [row] = found["parts"]["rows"]
    assert list(row["parts"]) == list(table.PARTS) and min(row["parts"].values()) > 0 and row["evaluation"] > 0
    assert 0.3 < sum(row["parts"].values()) / row["step"] < 3 and row["operations"] > 50 and not row["recorded"]
    told = table.table([{"device": "cpu, 1 core", "torch": "2", "steps": found, "revisions": {"steps": "abc"}}])
    assert told.count("| usual loop | 1 |") == 1 and "CUDA GPU: not measured." in told and "; revision abc\n" in told
    assert "A step of 2 members (resnet8 of width 4, 1x8x8, batch 8, float32)" in told and "operations" in told


def test_the_start_of_the_usual_loops_workers_is_taken_off(monkeypatch):
    """It takes 5 s in each run, and a step 2 s; 3 s are asked for, but at least PACE steps are made."""
    made = []
    monkeypatch.setattr(ways, "_usual", lambda *args: lambda steps: made.append(steps) or 5 + 2 * steps)
    row = ways.measured(Way("usual", workers=4), cases.Case("mlp", (1, 8, 8), 8, 3), "cpu", 3.0)
    assert row["ms_per_member_step"] == 2000 and row["workers"] == 4 and max(made) == ways.PACE + 2


class StandIn(str):
    """A device that torch takes for the CPU and our code for a GPU."""

    type = "cuda"


@pytest.mark.parametrize(("way", "runs"), [(Way("graph", 4, "bfloat16"), [8, 20]), (Way("loop"), [8, 8, 20])])
def test_on_a_gpu_one_run_is_timed_and_the_peak_is_above_what_was_there(monkeypatch, way, runs):
    """A step takes 25 ms; the 8 steps of the first run see to what is made once."""
    made = []
    run = lambda *args: lambda steps: made.append(steps) or 0.025 * steps  # noqa: E731
    monkeypatch.setattr(ways, "_engine", run)
    monkeypatch.setattr(ways, "_loop", run)
    monkeypatch.setattr(ways, "resolve", lambda name: StandIn("cpu"))
    monkeypatch.setattr(cases, "CIFAR", (512, 8, 8))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    row = ways.measure(way, cases.Case("mlp", (1, 8, 8), 8, 3), "cuda", 0.5)
    assert made == runs and row["ms_per_member_step"] == pytest.approx(25 / way.members) and row["peak_mib"] == 4
    assert row["images_per_second"] == pytest.approx(8 * way.members / 0.025)


def test_calls_are_the_operations_that_are_no_views():
    a = torch.ones(2, 2)
    assert parts.calls(lambda: (a + a).view(4).add_(1).exp().unsqueeze(0), CPU) == 3


def test_parts_are_clocked_one_after_the_other(monkeypatch):
    """On a clock that each part moves by its own number of seconds."""
    clock, order = [0.0], []

    def part(name: str, seconds: float):
        def work() -> None:
            order.append(name)
            clock[0] += seconds

        return work

    monkeypatch.setattr(parts.time, "perf_counter", lambda: clock[0])
    assert parts.clocked({"a": part("a", 1), "b": part("b", 2)}, CPU, rounds=3) == {"a": 1000, "b": 2000}
    assert order == ["a", "b"] * 5


def test_parts_are_recorded_in_one_pool_and_launched_in_their_order(monkeypatch):
    """With stand-ins for CUDA's: while a graph is open, works are recorded; a replay carries them out."""
    done, open_graph = [], []

    class Graph:
        def __init__(self):
            self.works = []

        def replay(self):
            done.extend(self.works)

    class Recording:
        def __init__(self, graph, pool):
            assert pool == "pool"
            self.graph = graph

        def __enter__(self):
            open_graph.append(self.graph)

        def __exit__(self, *args):
            open_graph.pop()

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    works = {name: lambda name=name: open_graph[0].works.append(name) for name in ("feed", "forward", "backward")}
    recorded = parts.record(works)
    assert done == []
    for work in recorded.values():
        work()
    assert done == ["feed", "forward", "backward"]


def test_a_study_is_trained_evaluated_and_compared(monkeypatch):
    """An epoch of a small network; FT and LRW are one run, as LLR and ALLR are not."""
    recipe = Recipe(width=4, epochs=20, batch_size=128)
    monkeypatch.setattr(study, "RECIPES", {"cpu": recipe})
    monkeypatch.setattr(study, "SEEDS", 2)
    monkeypatch.setattr(study, "fastest", lambda *args: Engine("batched", 8, least=1))
    tested = []
    real = study.evaluate
    monkeypatch.setattr(study, "evaluate", lambda *args: tested.append(args[-1]) or real(*args))
    parts_of_it = [dict(found) for found in study.study(CPU, [0, 0])]
    out, each = parts_of_it[-1], 1000 // 128
    assert (out["runs"], out["slots"], out["member_steps"], out["images"]) == (12, 10, 12 * each, [1000, 257, 540])
    assert out["race"]["runs"] == 6 and out["race"]["slots"] == 5 and out["race"]["seconds"] < out["seconds"]
    assert len(tested) == 18 and {len(split) for split in tested} == {540}
    assert out["times_usual"] == pytest.approx(out["usual_seconds"] / out["seconds"]) and "race" not in parts_of_it[0]
    told = table.table([{"device": "cpu, 1 core", "torch": "2", "study": out}])
    assert "A study of 12 retrainings, 10 of them distinct (resnet8 of width 4, 1x8x8, batch 128, float32;" in told


def test_the_usual_loops_time_for_a_study_is_reckoned_from_a_part(monkeypatch):
    """A step takes 2 s, an evaluation of 257 images 3 s: 4 runs of 10 steps, 6 evaluations and one of 540 images."""
    setup = study.prepared(Recipe(width=4, batch_size=128), CPU)
    made = []

    def retrain(model, masks, training, validation, curve, **options):
        made.append(len(curve))
        return usual.Retrained(0.5, 2.0 * len(curve) + 6.0, 2.0 * len(curve))

    monkeypatch.setattr(study, "usual_retrain", retrain)
    monkeypatch.setattr(study, "PART", 5)
    done = study.Done(1.0, 4, 4, 40, ())
    assert study.usual_seconds(setup, done, 0) == pytest.approx(4 * (20 + 6 * 3 + 3 * 540 / 257)) and made == [8, 5]


@pytest.fixture
def own_bench(monkeypatch, tmp_path):
    """bench.main with arguments: (its status, the record that it has written), with sections of a test's own."""

    def run(measurements, *arguments: str) -> tuple[int, dict]:
        monkeypatch.setattr(bench, "measurements", measurements)
        monkeypatch.setattr(sys, "argv", ["bench.py", "--device", "cpu", "--output", str(tmp_path), *arguments])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        status = bench.main()
        [path] = tmp_path.glob("cpu-*.json")
        return status, json.loads(path.read_text())

    return run


def test_a_section_that_fails_is_told_and_what_was_measured_is_kept(own_bench, capsys):
    def measurements(name, device, limits, record):
        yield {"value": 1.23456, "unknown": math.inf}
        if name == "steps":
            raise ValueError("broken")
        if name == "precision":
            raise BadInput("cifar10 is not here.")

    status, record = own_bench(measurements, "--only", "steps", "precision", "live", "--revision", "abc")
    told = capsys.readouterr()
    assert status == 1 and "precision is left out: cifar10 is not here." in told.out and "broken" in told.err
    assert record["steps"] == record["live"] == {"value": 1.235, "unknown": None}
    assert record["revisions"] == {"steps": "abc", "precision": "abc", "live": "abc"}
    assert record["processor"] == bench.processor()


def test_each_section_is_told_the_limits_and_what_the_others_have_found(own_bench, monkeypatch):
    seen = []

    def measurements(name, device, limits, record):
        seen.append((name, limits, record.get("steps")))
        yield {"of": name}

    arguments = ("--only", "steps", "study", "--seconds", "0.5", "--limit", "100", "--compile-seconds", "9")
    assert own_bench(measurements, *arguments)[0] == 0
    limits = Limits(0.5, 100, 9)
    assert seen == [("steps", limits, None), ("study", limits, {"of": "steps"})]


def test_a_study_is_compared_with_the_usual_loop_at_its_best(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "study", lambda device, workers: seen.append(workers))
    monkeypatch.setattr(bench, "usually", lambda: 4)
    rows = [{"kind": "usual", "workers": n, "ms_per_member_step": ms} for n, ms in ((4, 9.0), (8, 7.0), (16, 8.0))]
    bench.measurements("study", CPU, FREE, {"steps": {"cases": [{"rows": rows}]}})
    old = [{"kind": "usual", "ms_per_member_step": 9.0}]  # of an earlier revision
    bench.measurements("study", CPU, FREE, {"steps": {"cases": [{"rows": old}]}})
    bench.measurements("study", CPU, FREE, {})
    assert seen == [[4, 8], [4, 4], [4, 4]]


def test_code_without_git_has_no_known_revision(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert bench.revision() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench.revision() == "unknown"


def test_a_gpus_table_has_every_row_of_its_first_network_and_few_of_the_others(gpu):
    gpu.setattr(table, "ROOT", None)
    *_, last = steps.steps(CUDA, FREE)
    told = table.table([{"device": "cuda, some GPU", "torch": "2", "steps": last}])
    first, second, *_ = told.split("cuda, some GPU; ")[1:]
    assert [part.count("| engine, CUDA graph") for part in (first, second)] == [11, 2]
    assert "| usual loop, 8 workers | 1 | 20 |" in first and "CUDA graph, bfloat16, not unfolded | 16 | 0.5 |" in first
    assert "| times the usual loop at its best |" in first
    assert "| 200% |" in second and "a copy moves 1.00 TB/s" in told and "not measured" not in told
    assert "an earlier revision" in first


def test_what_was_measured_at_another_revision_says_so():
    live = {"cost_share": 0.01}
    rows = {"cases": [], "ceilings": {"copy_bytes_per_second": 1e12, "float32_flops": 1e12, "bfloat16_flops": 1e12}}
    record = {"device": "cpu, 1 core", "torch": "2", "steps": rows, "live": live}
    known = record | {"revisions": {"steps": "new", "live": "new"}}
    assert "Measured at" not in table.table([record]) + table.table([known])
    assert "costs 1.0 %. Measured at an earlier revision." in table.table([known | {"revisions": {"steps": "new"}}])
    assert "cpu, 1 core (Some CPU, AVX512); torch 2" in table.table([known | {"processor": "Some CPU, AVX512"}])
    assert "x86" not in table.table([known | {"processor": "x86_64"}])


def test_the_processor_is_named_with_what_torch_computes_with():
    assert bench.processor().endswith(torch.backends.cpu.get_cpu_capability())
    assert len(bench.processor().split(", ")) >= 2


def test_the_gpus_page_puts_what_is_measured_now_beside_what_was_measured_then():
    page = (FOLDER / "gpu.md").read_text()
    rows = [
        {"kind": "graph", "members": 16, "precision": "bfloat16", "ms_per_member_step": 0.5, "times_usual": 26.0},
        *(
            {"kind": "usual", "members": 1, "precision": "float32", "ms_per_member_step": ms, "workers": n}
            for n, ms in ((4, 13), (8, 7))
        ),
    ]
    steps_of_it = {"cases": [{"case": "resnet20, 3x32x32, batch 128", "rows": rows}]}
    gpu = {"device": "cuda, NVIDIA H100, 79 GiB", "torch": "2.11", "steps": steps_of_it, "revisions": {"steps": "abc"}}
    text = table.compared(page, [gpu])
    assert "| resnet20 | bfloat16 | engine, CUDA graph | 16 | 1.05 | 0.5 (26.0 x) |" in text
    assert "| resnet20 | float32 | usual loop | 1 | 12.95 | 13 |" in text
    assert "The last column: cuda, NVIDIA H100, 79 GiB, torch 2.11, revision abc." in text
    assert table.compared(table.put(page, text), [gpu]) == text
    assert text.count(table.ABSENT) == text.count("| resnet") - 2
    assert table.compared(page, []).count(table.ABSENT) == text.count("| resnet") + 1


def test_the_pages_tables_are_those_of_the_results():
    for path, text in table.pages(table.records()).items():
        assert path.read_text() == text, path.name


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_a_row_of_the_smaller_networks_has_their_multiply_adds_and_times(name):
    structure = {"mlp": "neurons", "resnet8": "filters"}[name]
    cells = smaller.row((name, (1, 8, 8), structure), 0.5, CPU, 1)
    assert cells[:2] == [name, structure] and all(float(cell) > 0 for cell in cells[2:]) and len(cells) == 9
    if name == "mlp":
        assert cells[2] == f"{(64 * 300 + 300 * 100 + 1000) / (64 * 150 + 150 * 50 + 500):.2f}"


def test_the_page_of_large_studies_has_the_table_of_the_results():
    [path] = (FOLDER / "results").glob("scale-*.json")
    page = scale.PAGE.read_text()
    assert page.split(scale.MARKS[0])[1].split(scale.MARKS[1])[0] == scale.table(json.loads(path.read_text()))


def test_the_page_of_clusters_tells_what_was_measured():
    [path] = (FOLDER / "results").glob("cluster-*.json")
    assert cluster.table(json.loads(path.read_text())) in cluster.PAGE.read_text()


def test_the_model_of_cost_is_the_line_through_the_two_smaller_sizes():
    found = {str(runs): {"bytes": 500 + 40 * runs} for runs in scale.SIZES}
    predicted = scale.model(found)
    assert predicted(lambda one: one["bytes"], 1_000_000) == pytest.approx(500 + 40 * 1_000_000)
    assert predicted(lambda one: -one["bytes"], 1_000_000) == 0  # what grows no more with the runs costs nothing


def test_stand_ins_are_a_study_that_is_all_there(tmp_path):
    from retrainlab.study import Results, run_study
    from retrainlab.study.store import Store

    asked, store = standins.experiments(standins.A_SEED), Store(tmp_path / "store")
    count = len(list(standins.fill(store, asked, standins.trained(tmp_path / "one"))))
    assert count == 1 + len(standins.SPARSITIES) + standins.A_SEED == sum(store.count().values())
    frame = run_study(asked, store=store, stored_only=True)
    assert frame["test_accuracy"].between(0.7, 1).all() and (frame["sparsity"] == frame["sparsity_achieved"]).all()
    assert all(Results(store).dense(e.recipe, CPU) and Results(store).masks(e.recipe, e.prune, CPU) for e in asked[:3])
