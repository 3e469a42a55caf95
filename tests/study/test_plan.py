"""The plan of a study: what is missing, each run in one task after what it needs, and runs made together as if alone."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import retrainlab.study.stages as experiment_module
from retrainlab import storage
from retrainlab.checks import BadInput, Stopped
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.study import plan
from retrainlab.study.courses import Callbacks, drive
from retrainlab.study.grids import grid
from retrainlab.study.ledger import Task
from retrainlab.study.making import Meter, Watch, cost
from retrainlab.study.plan import Missing, tasks
from retrainlab.study.reading import masks
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.serving import advance
from retrainlab.study.stages import (
    Dense,
    Pruned,
    Result,
    common,
    prepare,
    prune_dense,
    run,
    run_together,
    train_dense,
    train_dense_together,
)
from retrainlab.study.store import Store
from retrainlab.study.workers import run_tasks
from retrainlab.training.engine import Engine
from retrainlab.training.loop import train
from retrainlab.training.state import Job, Point, State

CPU = torch.device("cpu")
RECIPE = Recipe(width=16, epochs=1)  # 31 steps
MARKS = {("digits", None): "mark"}
RESULTS = Results(Store("nowhere"), MARKS)
TOGETHER = Engine("batched", 8, 1)


def some(recipe=RECIPE, sparsities=(0.5,), schedules=("FT", "LRW", "LLR"), budgets=(1.0,), seeds=1):
    return grid(recipe, sparsities=sparsities, budgets=budgets, schedules=schedules, seeds=seeds)


def all_missing(experiments) -> Missing:
    return Missing(
        {RESULTS.key(e.recipe): e.recipe for e in experiments},
        {RESULTS.key((e.recipe, e.prune)): (e.recipe, e.prune) for e in experiments},
        {RESULTS.key(e): e for e in experiments},
    )


def planned(experiments, engine=TOGETHER, workers=1) -> list[Task]:
    return tasks(all_missing(experiments), {common(e.recipe): engine for e in experiments}, workers, RESULTS, CPU)


def made_by(task) -> list:
    """The nouns that a task makes."""
    return [part.noun for part in task.parts]


def of(todo, kind) -> list:
    """What the tasks of one kind make."""
    return [made_by(task) for task in todo if isinstance(made_by(task)[0], kind)]


# ---- what is missing -------------------------------------------------------------------------------------------------

NOTHING = Result({}, {}, {}, {})


def put(store, kind, e):
    """Something under the name of what an experiment needs."""
    things = {
        "dense": (e.recipe, Dense(State({"w": torch.ones(1)}, {}, {}), NOTHING)),
        "pruned": ((e.recipe, e.prune), Pruned({"w": torch.ones(1, dtype=torch.bool)}, NOTHING)),
        "results": (e, NOTHING),
    }
    Results(store, MARKS).put(*things[kind])


def lacking(experiments, store, fresh=False) -> Missing:
    return Missing.of(experiments, Results(store, MARKS), fresh)


def missing(experiments, store, fresh=False):
    """(seeds of dense networks, (seed, sparsity) of masks, places of results) that are missing."""
    out = lacking(experiments, store, fresh)
    for named in (out.dense, out.pruned, out.results):
        assert all(RESULTS.key(noun) == name for name, noun in named.items())
    return (
        [r.seed for r in out.dense.values()],
        [(r.seed, p.sparsity) for r, p in out.pruned.values()],
        [experiments.index(e) for e in out.results.values()],
    )


FOUR = some(sparsities=(0.5, 0.9), schedules=("FT",), seeds=2)
WHOLE = ([0, 1], [(0, 0.5), (0, 0.9), (1, 0.5), (1, 0.9)], [0, 1, 2, 3])


def test_of_an_empty_store_everything_is_missing_once(tmp_path):
    assert missing(FOUR, Store(tmp_path)) == WHOLE
    assert missing([*FOUR, *FOUR[::-1]], Store(tmp_path)) == WHOLE


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ([("results", 0)], ([0, 1], [(0, 0.9), (1, 0.5), (1, 0.9)], [1, 2, 3])),
        ([("results", 0), ("results", 1)], ([1], [(1, 0.5), (1, 0.9)], [2, 3])),
        ([("dense", 0)], ([1], WHOLE[1], WHOLE[2])),
        ([("pruned", 3)], WHOLE),  # masks of a network that is not there
        ([("dense", 3), ("pruned", 3)], ([0], WHOLE[1][:3], WHOLE[2])),
        ([("dense", 2), ("pruned", 2), ("results", 3)], ([0], [(0, 0.5), (0, 0.9)], [0, 1, 2])),
        ([("results", i) for i in range(4)], ([], [], [])),
    ],
)
def test_what_is_stored_is_not_missing_nor_what_only_it_needs(tmp_path, stored, wanted):
    store = Store(tmp_path)
    for kind, i in stored:
        put(store, kind, FOUR[i])
    assert missing(FOUR, store) == wanted
    assert missing(FOUR, store, fresh=True) == WHOLE


def test_the_epochs_of_what_is_missing_are_those_of_its_networks_and_its_runs(tmp_path):
    store, other = Store(tmp_path), some(replace(RECIPE, batch_size=50, epochs=7))
    gone = lacking([*FOUR, *other], store)
    assert gone.epochs(common(FOUR[0].recipe)) == pytest.approx(2 * 1 + 4 * 1.1)
    put(store, "dense", FOUR[0])
    assert lacking(FOUR, store).epochs(common(FOUR[0].recipe)) == pytest.approx(1 + 4 * 1.1)


def test_each_file_of_tensors_is_read_once_to_find_what_is_missing(tmp_path, monkeypatch):
    store, read, real = Store(tmp_path), [], Store._tensors
    for kind in ("dense", "pruned"):
        for e in FOUR:
            put(store, kind, e)
    monkeypatch.setattr(Store, "_tensors", lambda self, *of: (read.append(of[:2]), real(self, *of))[1])
    lacking([*FOUR, *some(sparsities=(0.5, 0.9), schedules=("LLR", "SLR"), seeds=2)], store)
    assert len(read) == len(set(read)) == 6


def test_what_will_be_written_is_estimated_before_it_is(tmp_path):
    """Within a few percent of what lies in the store afterwards; never less than its tensors."""
    experiments = some(sparsities=(0.5, 0.9), schedules=("FT",))
    gone = lacking(experiments, store := Store(tmp_path))
    size = gone.bytes()
    run_study(experiments, store=store, jobs=1, device="cpu", progress=lambda *_: None)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    records = plan.RECORD * sum(p.suffix == ".json" for p in files)
    tensors = sum(p.stat().st_size for p in files if p.suffix == ".safetensors")
    assert size - records == pytest.approx(tensors, rel=0.1)


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_dense_runs_of_different_seeds_are_trained_together():
    experiments = some(schedules=("FT",), seeds=6)
    together = of(planned(experiments), Recipe)
    assert [[r.seed for r in recipes] for recipes in together] == [[0, 1, 2, 3, 4, 5]]
    halves = of(planned(experiments, workers=2), Recipe)
    assert [[r.seed for r in recipes] for recipes in halves] == [[0, 1, 2], [3, 4, 5]]
    pairs = of(planned(experiments, Engine("batched", 2, 1)), Recipe)
    assert [len(recipes) for recipes in pairs] == [2, 2, 2]


def test_runs_of_one_network_and_one_mask_are_trained_together_the_longest_first():
    experiments = some(sparsities=(0.5, 0.9), budgets=(0.1, 1.0, 0.5), schedules=("FT", "LLR"), seeds=2)
    groups = of(planned(experiments, Engine("batched", 6, 1)), Experiment)
    assert {(len(g), len({(e.recipe, e.prune) for e in g})) for g in groups} == {(6, 1)} and len(groups) == 4
    assert [[e.retrain.budget for e in g] for g in groups] == [[1.0, 1.0, 0.5, 0.5, 0.1, 0.1]] * 4


def test_runs_of_one_network_and_two_masks_are_joined_where_an_engine_takes_them_all():
    experiments = some(sparsities=(0.5, 0.9), schedules=("FT", "LRW", "LLR"), seeds=2)
    groups = of(planned(experiments, Engine("batched", 6, 1)), Experiment)
    assert [(len(g), len({e.recipe for e in g}), len({e.prune for e in g})) for g in groups] == [(6, 1, 2)] * 2
    groups = of(planned(experiments, Engine("batched", 5, 1)), Experiment)
    assert [(len(g), len({e.recipe for e in g}), len({e.prune for e in g})) for g in groups] == [(3, 1, 1)] * 4


def test_a_large_group_is_cut_into_some_tasks_for_each_worker():
    """So that an engine that takes few at once is not begun for each few, and none waits long for the last."""
    experiments = some(budgets=[i / 80 for i in range(1, 81)], schedules=("FT",))
    cuts = {workers: of(planned(experiments, Engine("batched", 2, 1), workers), Experiment) for workers in (1, 5)}
    assert [len(g) for g in cuts[1]] == [10] * 8 and [len(g) for g in cuts[5]] == [2] * 40


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_worker_waits_while_one_task_holds_more_than_its_share(workers):
    experiments = some(budgets=[i / 8 for i in range(1, 9)], schedules=("FT",), seeds=1)
    groups = of(planned(experiments, Engine("batched", 64, 1), workers), Experiment)
    assert [len(g) for g in groups] == [8 // workers] * workers


def test_the_loop_has_one_run_in_a_task():
    experiments = some(sparsities=(0.5, 0.9), seeds=3)
    todo = planned(experiments, Engine(), workers=2)
    assert {task.runs for task in todo} == {1} and len(todo) == 3 + 6 + 18


def test_each_network_is_trained_by_its_own_engine():
    loop, many = some(replace(RECIPE, model="mlp", width=12), seeds=2), some(seeds=2)
    engines = {common(loop[0].recipe): Engine(), common(many[0].recipe): TOGETHER}
    todo = tasks(all_missing([*loop, *many]), engines, 1, RESULTS, CPU)
    used = {
        (task.args[2].kind, noun.recipe.model)
        for task in todo
        for noun in made_by(task)
        if isinstance(noun, Experiment)
    }
    assert used == {("loop", "mlp"), ("batched", "resnet8")}


SPARSITIES, BUDGETS, NAMES = (0.5, 0.8, 0.9), (0.1, 0.5, 1.0), ("FT", "LRW", "CLR", "LLR")
EVERY = [
    *some(sparsities=SPARSITIES, budgets=BUDGETS, schedules=NAMES, seeds=4),
    *some(replace(RECIPE, batch_size=50), sparsities=SPARSITIES[:1], schedules=NAMES, seeds=4),
]


quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)


@st.composite
def plans(draw):
    """(what is missing, its tasks, the engine, the number of workers): some networks and masks may be stored."""
    asked = draw(st.lists(st.sampled_from(EVERY), min_size=1, max_size=60, unique=True))
    engine = draw(st.sampled_from([Engine(), Engine("batched", 2, 1), Engine("batched", 5, 2), Engine("graph", 16, 1)]))
    workers, whole = draw(st.integers(1, 5)), all_missing(asked)

    def part(of):
        stored = draw(st.sets(st.sampled_from(sorted(of))))
        return {name: noun for name, noun in of.items() if name not in stored}

    gone = Missing(part(whole.dense), part(whole.pruned), whole.results)
    return gone, tasks(gone, {common(e.recipe): engine for e in asked}, workers, RESULTS, CPU), engine, workers


@quick
@given(plans())
def test_every_run_is_made_in_one_task(drawn):
    gone, todo, _, _ = drawn
    names = [RESULTS.key(noun) for task in todo for noun in made_by(task)]
    assert sorted(names) == sorted([*gone.dense, *gone.pruned, *gone.results])
    assert [task.runs for task in todo] == [len(made_by(task)) for task in todo]
    assert len({task.key for task in todo}) == len(todo)
    assert all(task.args[0].fingerprints == MARKS for task in todo)


@quick
@given(plans())
def test_a_task_needs_the_tasks_that_make_its_networks_and_masks(drawn):
    _, todo, _, _ = drawn
    maker = {noun: task for task in todo for noun in made_by(task)}
    for task in todo:
        needs = []
        for noun in made_by(task):
            if isinstance(noun, tuple):
                needs += [noun[0]]
            if isinstance(noun, Experiment):
                needs += [noun.recipe, (noun.recipe, noun.prune)]
        makers = [maker[noun] for noun in needs if noun in maker]
        assert task.needs == {need.key for need in makers} and all(need < task for need in makers)


@quick
@given(plans())
def test_a_task_is_of_runs_that_can_be_made_together_and_no_more_than_a_workers_share(drawn):
    gone, todo, engine, workers = drawn
    for task in todo:
        nouns = made_by(task)
        if isinstance(nouns[0], Recipe):
            shared = {common(recipe) for recipe in nouns}
            same = [recipe for recipe in gone.dense.values() if common(recipe) in shared]
            assert len(shared) == 1 and task.runs <= engine.members
        elif isinstance(nouns[0], Experiment):
            shared = {common(e.recipe) for e in nouns}
            same = [e for e in gone.results.values() if common(e.recipe) in shared]
            pairs = {(e.recipe, e.prune) for e in nouns}
            assert len(shared) == 1 and (len(pairs) == 1 or task.runs <= engine.members)
        else:
            continue
        assert task.args[2] == engine and (engine.kind != "loop" or task.runs == 1)
        assert task.runs <= -(-len(same) // workers)


@quick
@given(plans())
def test_the_longest_tasks_of_a_stage_come_first(drawn):
    _, todo, _, _ = drawn
    ordered = sorted(todo)
    assert [task.rank[0] for task in ordered] == sorted(task.rank[0] for task in todo)
    for stage in (0, 1, 2):
        costs = [task.cost for task in ordered if task.rank[0] == stage]
        assert costs == sorted(costs, reverse=True)
    for task in todo:
        if isinstance(made_by(task)[0], Experiment):
            assert task.cost == pytest.approx(sum(map(cost, made_by(task))))


def test_the_cost_of_an_experiment_is_its_epochs_of_retraining_and_a_little_more():
    e = Experiment(replace(RECIPE, epochs=30), Prune(0.9, cycles=3), Retrain("FT", budget=0.5))
    assert cost(e) == pytest.approx(45.1)


# ---- runs made together ----------------------------------------------------------------------------------------------

TWICE = Prune(0.9, cycles=2)
COURSES = [
    Experiment(RECIPE, TWICE, Retrain("ALLR", budget=0.5, recalibrate=True), evaluations=2),
    Experiment(RECIPE, TWICE, Retrain("FT", budget=0.2, optimizer="keep"), evaluations=3),
    Experiment(replace(RECIPE, seed=1), Prune(0.5), Retrain("LLR", budget=0.5), evaluations=1),
    Experiment(replace(RECIPE, seed=1), Prune(0.5), Retrain("ALLR", budget=0.3, allr_cycles="last")),
    Experiment(RECIPE, TWICE, Retrain("ALLR", budget=0.2, allr_cycles="last")),
]


def in_float64(patch: pytest.MonkeyPatch) -> None:
    """Networks and images in float64, where the order of a sum, which is the CPU's, cannot set two trainings apart."""

    load, build = experiment_module.load, experiment_module.build

    def double(*arguments, **options):
        data = load(*arguments, **options)
        return replace(data, mean=data.mean.double(), std=data.std.double())

    patch.setattr(experiment_module, "load", double)
    patch.setattr(experiment_module, "build", lambda *arguments, **options: build(*arguments, **options).double())


@pytest.fixture
def precise(monkeypatch):
    in_float64(monkeypatch)


@pytest.fixture(scope="module")
def alone():
    with pytest.MonkeyPatch.context() as patch:
        in_float64(patch)
        return made_alone()


def made_alone():
    """By the loop: each seed's dense network; for each of COURSES its dense network, its masks and its result."""
    dense = {recipe: train_dense(recipe, "cpu") for recipe in (RECIPE, replace(RECIPE, seed=1))}
    pruned = {pair: prune_dense(*pair, dense[pair[0]], "cpu") for pair in {(e.recipe, e.prune) for e in COURSES}}
    starts = [(dense[e.recipe], pruned[e.recipe, e.prune]) for e in COURSES]
    results = [run(e, "cpu", dense=own, pruned=masks) for e, (own, masks) in zip(COURSES, starts)]
    return SimpleNamespace(dense=dense, starts=starts, results=results)


GZIPPED = ("bytes", "packed_bytes", "compression_ratio", "compression_ratio_bfloat16")


def near(value, rel=1e-6):
    """The same to a millionth: numbers, None, and lists and dictionaries of them; to a thousandth what gzip has a part in,
    which sees the last digits."""
    if isinstance(value, dict):
        return {name: near(x, 1e-3 if name in GZIPPED else rel) for name, x in value.items()}
    if isinstance(value, list):
        return [near(x) for x in value]
    return pytest.approx(value, rel=rel) if isinstance(value, float) or rel > 1e-6 else value


def assert_same_result(mine, wanted):
    """All but how fast it was."""
    assert mine.config == wanted.config
    assert mine.scalars == near(wanted.scalars) | {"images_per_second": mine.scalars["images_per_second"]}
    assert mine.curves == near(wanted.curves)


def test_dense_runs_made_together_are_those_made_alone(alone, precise):
    recipes, seen = list(alone.dense), [[], []]
    calls = Callbacks(lambda place, point: seen[place].append(point))
    made = dict(train_dense_together(recipes, "cpu", TOGETHER, calls))
    for i, recipe in enumerate(recipes):
        wanted = alone.dense[recipe]
        assert_same_result(made[i].result, wanted.result)
        assert [p.accuracy for p in seen[i]] == wanted.result.curves["validation_accuracy"]
        torch.testing.assert_close(vars(made[i].state), vars(wanted.state), rtol=1e-4, atol=1e-6)
    assert made[0].result.provenance["engine"] == "batched, up to 8 at once"


@pytest.mark.parametrize("engine", [TOGETHER, Engine("batched", 2, 2)], ids=str)
def test_experiments_made_together_are_those_made_alone(alone, precise, engine):
    seen = [[] for _ in COURSES]
    points = lambda place, point: seen[place].append(point.accuracy)  # noqa: E731
    made = list(run_together(COURSES, alone.starts, "cpu", engine, Callbacks(points)))
    assert sorted(place for place, _ in made) == [0, 1, 2, 3, 4]
    for place, result in made:
        assert_same_result(result, alone.results[place])
        assert result.provenance["engine"] == str(engine) and result.provenance["seconds"] > 0
        assert seen[place] == result.curves["validation_accuracy"]
        assert result.scalars["images_per_second"] > 0


def test_stop_ends_experiments_made_together_where_it_ends_each(alone, precise):
    def after(steps):
        calls = iter(range(1000))
        return lambda: next(calls) >= steps

    for place, result in run_together(COURSES[:2], alone.starts[:2], "cpu", TOGETHER, Callbacks(stop=after(5))):
        dense, pruned = alone.starts[place]
        wanted = run(COURSES[place], "cpu", dense=dense, pruned=pruned, stop=after(5))
        assert_same_result(result, wanted)
        assert wanted.scalars["stopped"] and wanted.scalars["steps"] == 5


WILD = {  # what ends in the first of two cycles, and the words of its outcome
    "free": (Retrain("constant", lr=1e30, budget=0.5), "1, within 8 steps"),
    "kept": (Retrain("constant", lr=1e30, budget=0.5, optimizer="keep", recalibrate=True), "1, within 8 steps"),
    "split": (Retrain("constant", lr=1e30, budget=0.5, split=True), "1, within 4 steps"),
    "freeze": (Retrain("constant", lr=1e30, budget=0.5, freeze=True), "1, within 8 steps"),
    "copies": (Retrain("constant", lr=1e30, budget=0.5, copies=3), "1, within 8 steps"),
    "late": (Retrain("custom", budget=0.5, points=[(0.6, 0.01), (0.7, 1e30)]), "1, within 16 steps"),
}


def test_experiments_that_diverge_say_so_by_every_engine_and_harm_none_beside_them(alone, precise):
    """Pitfalls: 10 % for a network of NaN; its mask lost to NaN; recovery, loss and later cycles all the same."""
    plans = [*COURSES[:2], *(Experiment(RECIPE, TWICE, retrain, evaluations=2) for retrain, _ in WILD.values())]
    dense, pruned = alone.starts[0]
    made = dict(run_together(plans, [(dense, pruned)] * len(plans), "cpu", TOGETHER))
    for i in (0, 1):
        assert made[i].outcome == ""
        assert_same_result(made[i], alone.results[i])
    masks, first = pruned.masks, COURSES[0].prune.targets[0]
    ordinary = alone.results[0].scalars
    for i, (_, words) in enumerate(WILD.values(), 2):
        result, loop = made[i], run(plans[i], "cpu", dense=dense, pruned=pruned)
        s = result.scalars
        assert result.outcome == loop.outcome == f"diverged: retraining, cycle {words}"
        lost = {name for name in ordinary if s[name] is None and ordinary[name] is not None}
        unknown = {"test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "recovery"}
        assert lost == unknown | {*storage.ratios({})} and result.curves["bytes"] == {}
        assert (
            s["sparsity_achieved"]
            == 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
            == pytest.approx(first, abs=1e-3)
        )
        assert s["steps"] == loop.scalars["steps"] == int(words.split()[-2]) and not s["stopped"]
        assert result.curves["validation_accuracy"][-1] is result.curves["validation_loss"][-1] is None
        assert set(result.curves["cycle"]) == {0}, "there is no cycle after it"


def test_a_dense_run_that_diverges_ends_every_experiment_that_starts_from_it(tmp_path):
    """Without a mask: the smallest of weights that are no numbers mean nothing."""
    experiments = [
        *some(replace(RECIPE, lr=1e6), (0.5, 0.9), ("ALLR",)),
        *some(replace(RECIPE, lr=1e6), (0.5,), ("LLR",), (0.0,)),
        *some(schedules=("LLR",), budgets=(0.1,)),
    ]
    for engine in ("loop", "batched"):
        seen = []
        frame = run_study(
            experiments,
            store=tmp_path / engine,
            jobs=1,
            engine=engine,
            progress=lambda share, words, seen=seen: seen.append((share, words)),
        )
        assert frame["outcome"].tolist() == ["diverged: the first training, within 31 steps"] * 3 + [""]
        assert seen[-1][0] == 1 and seen[-1][1].startswith("9 of 9 runs")
        lost = frame[frame["outcome"] != ""]
        for name in ("test_accuracy", "validation_accuracy", "dense_test_accuracy", "sparsity_achieved", "recovery"):
            assert lost[name].isna().all() and frame[name].dtype == float and frame[name].notna().sum() == 1
        results = Results.at(tmp_path / engine)
        dense = results.dense(experiments[0].recipe, CPU)
        pruned = results.masks(experiments[0].recipe, experiments[0].prune, CPU)
        assert dense.result.scalars["test_accuracy"] is dense.result.scalars["sparsity"] is None
        assert pruned.masks == {} and dense.result.outcome == pruned.result.outcome == lost["outcome"].iloc[0]
        scalars = [results.of(e).scalars for e in experiments]
        assert scalars[0].keys() == scalars[-1].keys()
        with pytest.raises(BadInput, match="There are no masks"):
            masks(experiments[0], tmp_path / engine)


def test_courses_that_ask_for_different_numbers_of_jobs_are_driven_together():
    setup, _ = prepare(replace(RECIPE, model="mlp", width=6), CPU)
    rounds = []

    class Counted(Engine):
        def train(self, setup, jobs, stop=None):
            rounds.append(len(jobs))
            yield from super().train(setup, jobs, stop)

    def course(seed, count):
        state = State.of(setup.model)
        for i in range(count):
            trained = yield Job(state, torch.full((2 + seed,), 0.1), (seed, i), evaluations=1)
            state = trained.state
        return state

    counts = (2, 1, 4, 2)
    courses = [course(seed, count) for seed, count in enumerate(counts)]
    ended = list(drive(setup, courses, Counted("batched", 3, 1)))
    assert rounds == [4, 3, 1, 1] and [place for place, _ in ended] == [1, 0, 3, 2]
    for place, state in ended:
        alone = State.of(setup.model)
        for i in range(counts[place]):
            alone = train(setup, Job(alone, torch.full((2 + place,), 0.1), (place, i), evaluations=1)).state
        torch.testing.assert_close(state.params, alone.params)


def test_a_study_is_the_same_by_every_engine_and_its_progress_rises_within_a_task(tmp_path):
    recipe = replace(RECIPE, model="mlp", width=30)
    experiments = some(recipe, budgets=(0.1, 0.4), schedules=("FT", "LLR", "CLR"))
    told, tables = {"loop": [], "batched": []}, []
    for engine, seen in told.items():
        report = lambda share, words, seen=seen: seen.append((share, int(words.split()[0])))  # noqa: E731
        more = dict(jobs=1, device="cpu", engine=engine, progress=report)
        tables.append(run_study(experiments, store=tmp_path / engine, **more).drop(columns="images_per_second"))
    sizes = [name for name in GZIPPED if name in tables[0]]  # these hang on every bit of the weights
    pd.testing.assert_frame_equal(*(table.drop(columns=sizes) for table in tables), rtol=1e-5)
    pd.testing.assert_frame_equal(*(table[sizes].astype(float) for table in tables), rtol=0.01)
    for seen in told.values():
        assert seen == sorted(seen) and seen[0] == (0, 0) and seen[-1] == (1, 8)
        assert [share for share, _ in seen].count(1) == 1
    shares = {made: [share for share, m in told["batched"] if m == made] for made in (2, 5)}
    assert len(set(shares[2])) > 6 and len(set(shares[5])) > 6 and shares[2][-1] < shares[5][0]


# ---- progress within a task ------------------------------------------------------------------------------------------


def climb(shares, seconds=0.0):
    """Work that says how far it is; one more of its runs is made at each share."""
    for made, share in enumerate(shares):
        advance(share, made)
        time.sleep(seconds)


def climbing(*more):
    first = Task((0, -3, 0), "first", climb, ([0.25, 0.5, 1.0], *more), 3.0, frozenset(), 3)
    return [first, Task((1, -1, 1), "second", climb, ([1.0], *more), 1.0, frozenset(["first"]), 1)]


def test_progress_rises_within_a_task_and_runs_are_counted():
    told = []
    run_tasks(climbing(), 1, lambda *args: told.append(args), "here")
    words = [f"{n} of 4 runs" for n in range(5)]
    rising = [(0, 0), (0.75, 0), (1.5, 1), (3.0, 2), (3.0, 3), (0.999 * 4, 3), (4.0, 4)]
    assert told == [(done / 4, words[made]) for done, made in rising]


def test_progress_rises_within_a_task_of_another_process():
    told = []
    side = [replace(task, needs=frozenset()) for task in climbing(0.35)]
    run_tasks(side, 2, lambda *args: told.append(args), "here")
    done, made = ([t[0] for t in told], [int(t[1].split()[0]) for t in told])
    assert done == sorted(done) and made == sorted(made)
    assert (done[0], made[0]) == (0, 0) and (done[-1], made[-1]) == (1, 4) and done.count(1) == 1
    assert len(set(done)) > 4 and {1, 2} & set(made)


def test_advance_is_heard_by_no_one_outside_a_task():
    told = []
    run_tasks(climbing(), 1, lambda *args: told.append(args), "here")
    count = len(told)
    advance(0.5, 1)
    assert len(told) == count


def test_runs_that_a_task_has_made_are_told_when_it_is_stopped():
    def press(share, words):
        if words.startswith("2 of"):
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="2 of 4 runs are finished and kept in here"):
        run_tasks(climbing(), 1, press, "here")


def test_a_tasks_share_follows_the_points_of_its_runs_and_their_costs():
    told = []
    e = Experiment(replace(RECIPE, epochs=10), Prune(0.5), Retrain("FT", 0.29), evaluations=1)  # 3 epochs in 2 points
    meter = Meter(
        [e, replace(e, retrain=Retrain("FT", 0.09), evaluations=3)], Watch(tell=lambda *args: told.append(args))
    )
    point = Point(0, 0.5, 1.0, None)
    for place in (0, 1, 1):
        meter(place, point)
    meter.ended(0)  # after one point of two, as a run that diverges
    for place in (1, 1, 1):
        meter(place, point)
    shares = [3 / 8, 7 / 16, 1 / 2, 15 / 16, 1, 1]
    assert told == [(pytest.approx(share), "") for share in shares]
