"""Which engine trains a set of jobs: chosen by times, remembered, and with the loop's results whatever is chosen."""

import gc
import itertools
import json
import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from retrainlab import doctor
from retrainlab.checks import BadInput
from retrainlab.config import ENGINES, SGD, Recipe
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.device import repeatable
from retrainlab.paths import engines_file
from retrainlab.training import engine, half, loop, state, timing, together
from retrainlab.training.engine import Engine, decide, fastest, forced, probe, record_of, remembered
from retrainlab.training.method import Method, Plain
from retrainlab.training.slots import in_slots
from retrainlab.training.state import Job, Setup, State

CPU = torch.device("cpu")
RECIPE = Recipe(model="mlp", width=12, batch_size=8)


def tiny(dtype=torch.float64, device=CPU) -> Dataset:
    """44 / 24 / 12 images of 4x4 in three classes; 5 whole batches of 8 an epoch."""
    generator = torch.Generator().manual_seed(0)

    def split(count):
        labels = torch.arange(count) % 3
        images = torch.randint(0, 60, (count, 1, 4, 4), generator=generator)
        images[torch.arange(count), 0, labels] += 150
        return Split(images.to(torch.uint8).to(device), labels.to(device))

    mean, std = (torch.full((1,), value, dtype=dtype, device=device) for value in (70.0, 60.0))
    return Dataset("tiny", split(44), split(24), split(12), 3, mean, std, Augmentation(1, True))


def network(*layers, dtype=torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *layers, nn.Flatten(), nn.Linear(16, 3)).to(dtype)


def setup_of(*layers, dtype=torch.float64, batch_size=8) -> Setup:
    model = network(*layers, dtype=dtype)
    return Setup(model, tiny(dtype), SGD(), batch_size, ("0.weight", f"{len(layers) + 3}.weight"))


def jobs_of(setup, steps, seeds=None, method=Plain, **more) -> list[Job]:
    """Of different learning rates, so that none share a slot."""
    seeds = seeds or [0] * len(steps)
    return [
        Job(State.of(setup.model), torch.full((n,), 0.01 * (i + 1), dtype=torch.float64), (s, "t"), method(), 1, **more)
        for i, (n, s) in enumerate(zip(steps, seeds, strict=True))
    ]


def go(chosen, setup, jobs, stop=None):
    """What came of each job, in the order given; each comes once."""
    done = list(chosen.train(setup, jobs, stop))
    assert sorted(place for place, _ in done) == list(range(len(jobs)))
    return [trained for _, trained in sorted(done, key=lambda pair: pair[0])]


def assert_as_in_the_loop(mine, setup, jobs):
    for trained, job in zip(mine, jobs, strict=True):
        wanted = loop.train(setup, job)
        for part in ("params", "buffers", "momentum"):
            torch.testing.assert_close(getattr(trained.state, part), getattr(wanted.state, part), rtol=0, atol=1e-10)
        assert [(p.step, p.accuracy) for p in trained.points] == [(p.step, p.accuracy) for p in wanted.points]


class Calls(list):
    """What was trained, in order: ("loop", steps) or ("batched", the steps of each job); `ways` of the latter."""

    def __init__(self):
        self.ways = []


@pytest.fixture
def calls(monkeypatch):
    seen, single, many = Calls(), loop.train, together.train

    def one(setup, job, stop=None):
        seen.append(("loop", len(job.curve)))
        return single(setup, job, stop)

    def several(setup, jobs, stop=None, way=None):
        seen.append(("batched", [len(job.curve) for job in jobs]))
        seen.ways.append(way)
        return many(setup, jobs, stop, way)

    monkeypatch.setattr(loop, "train", one)
    monkeypatch.setattr(together, "train", several)
    return seen


# ---- training --------------------------------------------------------------------------------------------------------

STEPS = (3, 9, 5, 7, 2)


@pytest.mark.parametrize(
    "chosen", [Engine(), Engine("batched", 2, 1), Engine("batched", 8, 1), Engine("batched", 3, 3)]
)
def test_every_engine_gives_each_job_what_the_loop_gives_it(chosen):
    setup = setup_of()
    jobs = jobs_of(setup, STEPS, seeds=[0, 1, 0, 0, 1])
    assert_as_in_the_loop(go(chosen, setup, jobs), setup, jobs)


def test_the_loop_trains_the_longest_first(calls):
    setup = setup_of()
    places = [place for place, _ in Engine().train(setup, jobs_of(setup, STEPS))]
    assert places == [1, 3, 2, 0, 4] and calls == [("loop", n) for n in (9, 7, 5, 3, 2)]


def test_more_jobs_than_members_are_trained_in_turn_the_longest_first(calls):
    setup = setup_of()
    go(Engine("batched", 2, 1), setup, jobs_of(setup, STEPS))
    assert calls == [("batched", [9, 7]), ("batched", [5, 3]), ("batched", [2])]


def test_fewer_jobs_than_pay_are_left_to_the_loop(calls):
    setup = setup_of()
    go(Engine("batched", 3, 3), setup, jobs_of(setup, STEPS))
    assert calls == [("batched", [9, 7, 5]), ("loop", 3), ("loop", 2)]


def test_as_many_jobs_as_pay_are_trained_at_once(calls):
    setup = setup_of()
    go(Engine("batched", 4, 2), setup, jobs_of(setup, STEPS[:2]))
    assert calls == [("batched", [9, 3])]


@pytest.mark.parametrize("kind", ["batched", "graph"])
def test_only_the_graph_engine_asks_for_a_recording(calls, monkeypatch, kind):
    monkeypatch.setattr(together, "recorded", lambda step, changed: step)
    setup = setup_of()
    jobs = jobs_of(setup, STEPS)
    assert_as_in_the_loop(go(Engine(kind, 8, 1), setup, jobs), setup, jobs)
    assert [way.recorded for way in calls.ways] == [kind == "graph"]


def test_members_that_share_a_slot_count_once(calls):
    setup = setup_of()
    jobs = [replace(job, curve=job.curve[:1].repeat(n)) for job in jobs_of(setup, (4, 4)) for n in (4, 3, 1)]
    assert_as_in_the_loop(go(Engine("batched", 2, 1), setup, jobs), setup, jobs)
    assert calls[0] == ("batched", [4, 3, 1, 4, 3, 1])


def test_no_jobs_are_no_work():
    assert [list(Engine(*kind).train(setup_of(), [])) for kind in (("loop",), ("batched", 4))] == [[], []]


@pytest.mark.parametrize("chosen", [Engine(), Engine("batched", 2, 1)])
def test_stop_ends_what_runs_and_what_waits(chosen):
    setup, calls = setup_of(), itertools.count()
    out = go(chosen, setup, jobs_of(setup, (6, 6, 5, 4)), lambda: next(calls) >= 3)
    assert sorted(t.steps for t in out) == ([0, 0, 3, 3] if chosen.kind == "batched" else [0, 0, 0, 3])
    assert all(t.stopped for t in out)


def test_members_of_a_network_with_noise_are_trained_with_those_of_their_seed_alone(calls):
    setup = setup_of(nn.Dropout(0.5))
    jobs = jobs_of(setup, (6, 4, 5, 3, 2), seeds=[0, 1, 0, 1, 0])
    mine = go(Engine("batched", 2, 1), setup, jobs)
    assert calls == [("batched", [6, 5]), ("batched", [2]), ("batched", [4, 3])]
    assert_as_in_the_loop(mine, setup, jobs)


# ---- when memory runs out --------------------------------------------------------------------------------------------


class Memory:
    """Stands for a device that holds `most` slots: more run out of memory after `late` jobs have ended."""

    def __init__(self, monkeypatch, most, late=0, error=None):
        self.asked, self.most, self.late, self.real = [], most, late, together.train
        self.error = error or torch.OutOfMemoryError("out of memory, it says")
        monkeypatch.setattr(together, "train", self)

    def __call__(self, setup, jobs, stop=None, way=None):
        self.asked.append(len(jobs))
        out = self.real(setup, jobs, stop, way)
        if len(in_slots(jobs)) > self.most:
            yield from itertools.islice(out, self.late)
            raise self.error
        yield from out


ERRORS = [
    *(torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 7")),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_half_as_many_go_on_and_a_word_is_said(monkeypatch, error):
    memory = Memory(monkeypatch, 2, error=error)
    setup = setup_of()
    jobs = jobs_of(setup, (4, 4, 3, 3, 2, 2, 2, 1, 1))
    with pytest.warns(UserWarning) as words:
        mine = go(Engine("batched", 8, 1), setup, jobs)
    assert_as_in_the_loop(mine, setup, jobs)
    assert memory.asked == [8, 4, 2, 2, 2, 2, 1]
    assert [str(w.message) for w in words] == [
        "Memory ran out with 8 members at once; going on with 4.",
        "Memory ran out with 4 members at once; going on with 2.",
    ]


def test_out_of_memory_loses_no_member_that_has_ended(monkeypatch):
    memory = Memory(monkeypatch, 2, late=3)
    setup = setup_of()
    jobs = jobs_of(setup, (6, 5, 3, 2, 1))
    with pytest.warns(UserWarning, match="with 5 members at once; going on with 2"):
        done = list(Engine("batched", 8, 1).train(setup, jobs))
    assert [place for place, _ in done] == [4, 3, 2, 1, 0] and memory.asked == [5, 2]
    assert_as_in_the_loop([trained for _, trained in done[::-1]], setup, jobs)


class Count(Method):
    """The step weighs what the method has counted."""

    def __init__(self):
        self.steps = 0

    def edit_gradients(self, params, gradients):
        gradients["0.weight"] = gradients["0.weight"] * self.steps

    def after_step(self, params, step):
        self.steps += 1


def test_out_of_memory_methods_start_anew_too(monkeypatch):
    setup = setup_of()
    jobs, fresh = (jobs_of(setup, (5, 4, 2), method=Count) for _ in range(2))
    Memory(monkeypatch, 2, late=1)
    with pytest.warns(UserWarning, match="Memory ran out"):
        mine = go(Engine("batched", 8, 1), setup, jobs)
    assert_as_in_the_loop(mine, setup, fresh)


def test_out_of_memory_jobs_that_share_a_method_still_share_a_slot(monkeypatch):
    setup = setup_of()
    method = Count()
    jobs = jobs_of(setup, (5, 5, 5, 3), method=lambda: method)
    jobs = [replace(job, start=jobs[0].start, curve=jobs[0].curve[: len(job.curve)], seed=jobs[0].seed) for job in jobs]
    jobs[1] = replace(jobs[1], method=Count())
    memory = Memory(monkeypatch, 1)
    with pytest.warns(UserWarning, match="with 2 members at once; going on with 1"):
        go(Engine("batched", 8, 1), setup, jobs)
    assert memory.asked == [4, 3, 1]


def test_out_of_memory_with_one_member_is_an_error(monkeypatch):
    memory = Memory(monkeypatch, 0)
    setup = setup_of()
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError, match="out of memory, it says"):
        go(Engine("batched", 4, 1), setup, jobs_of(setup, STEPS))
    assert memory.asked == [4, 2, 1]


def test_out_of_memory_with_fewer_than_pay_the_loop_goes_on(monkeypatch, calls):
    Memory(monkeypatch, 1)
    setup = setup_of()
    jobs = jobs_of(setup, (4, 3))
    with pytest.warns(UserWarning, match="going on with 1"):
        go(Engine("batched", 4, 2), setup, jobs)
    assert calls[-2:] == [("loop", 4), ("loop", 3)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_out_of_memory_on_a_gpu_half_as_many_go_on():
    """In a recording, too, after which all that it held is free again."""
    device = torch.device("cuda", torch.cuda.current_device())
    setup = setup_of(nn.Conv2d(4, 4096, 1), nn.Conv2d(4096, 4, 1), dtype=torch.float32)
    setup = replace(setup, model=setup.model.to(device), data=tiny(torch.float32, device), prunable=("0.weight",))
    jobs = [replace(job, start=job.start.map(lambda t: t.to(device))) for job in jobs_of(setup, (6,) * 64)]
    with repeatable(device):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        wanted = go(Engine("graph", 64, 1), setup, jobs)
        takes = torch.cuda.max_memory_allocated(device) - before
        gc.collect()
        torch.cuda.empty_cache()
        limit = torch.cuda.memory_reserved(device) + 0.7 * takes
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info(device)[1], device)
        try:
            with pytest.warns(UserWarning, match="with 64 members at once; going on with 32"):
                mine = go(Engine("graph", 64, 1), setup, jobs)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a.state.params, b.state.params, rtol=1e-3, atol=1e-5)


def test_other_errors_are_raised_at_once(monkeypatch):
    memory = Memory(monkeypatch, 1, error=RuntimeError("shapes differ"))
    setup = setup_of()
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="shapes differ"):
        warnings.simplefilter("error")
        go(Engine("batched", 4, 1), setup, jobs_of(setup, STEPS))
    assert memory.asked == [4]


# ---- the choice by times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "members", "least"),
    [
        ({0: 1.0, 2: 0.9, 4: 0.6, 8: 0.4, 16: 0.5}, 8, 2),
        ({0: 1.0, 2: 0.9, 4: 0.6, 8: 0.4, 16: 0.37}, 16, 2),
        ({0: 1.0, 2: 1.2, 4: 0.97, 8: 0.8, 16: 0.5}, 16, 8),
        ({0: 1.0, 16: 0.5, 8: 0.7, 4: 0.94, 2: 0.97}, 16, 4),
        ({0: 1.0, 1: 0.3, 4: 0.29, 16: 0.1}, 16, 1),
        ({0: 1.0, 2: 0.5}, 2, 2),
    ],
)
@pytest.mark.parametrize("kind", ["batched", "graph"])
def test_the_engine_is_the_one_that_takes_the_least_time(times, members, least, kind):
    assert decide(times, kind) == Engine(kind, members, least, seconds=times[members])


@pytest.mark.parametrize("times", [{0: 0.7}, {0: 0.7, 2: 0.8}, {0: 0.7, 2: 0.8, 4: 0.7, 8: 0.6}])
def test_the_engine_is_the_loop_unless_it_is_clearly_beaten(times):
    assert decide(times, "batched") == Engine(seconds=0.7)


# ---- an engine that was asked for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "device", "wanted"),
    [
        ("loop", CPU, Engine()),
        ("batched", CPU, Engine("batched", 8, 1)),
        ("batched", torch.device("cuda"), Engine("batched", 16, 1, unfolded=True)),
        ("graph", torch.device("cuda"), Engine("graph", 16, 1, unfolded=True)),
        ("compiled", torch.device("cuda"), Engine("compiled", 16, 1, unfolded=True)),
    ],
)
def test_an_engine_that_is_asked_for_is_taken_without_a_probe(kind, device, wanted, monkeypatch):
    monkeypatch.setattr(engine, "probe", lambda *args: pytest.fail("probed"))
    assert forced(kind, device) == wanted


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("graph", CPU), "needs a CUDA GPU; use --engine batched"),
        (("compiled", CPU), "'compiled' needs a CUDA GPU; use --engine batched"),
        (("batch", CPU), "no engine 'batch': did you mean 'batched'"),
    ],
)
def test_an_engine_that_is_not_here_is_bad_input(args, words):
    with pytest.raises(BadInput, match=words):
        forced(*args)


def test_engines_are_told_in_words():
    assert {*ENGINES} == {"auto", "loop", "batched", "graph", "compiled"}
    assert str(Engine()) == "loop"
    assert str(Engine("batched", 8)) == "batched, up to 8 at once"
    assert str(Engine("graph", 16, 1)) == "graph, up to 16 at once"


# ---- remembered ------------------------------------------------------------------------------------------------------

TIMES = {0: 1e-3, 2: 9e-4, 4: 5e-4}


@pytest.fixture
def probes(monkeypatch):
    """A probe that finds TIMES and nothing of bfloat16, and how often it was made."""
    made = []
    monkeypatch.setattr(half, "measured", lambda *args: {})
    monkeypatch.setattr(engine, "probe", lambda setup, start: (made.append(setup.batch_size), TIMES)[1])
    return made


CHOSEN = Engine("batched", 4, 2, seconds=5e-4)


def choose(recipe=RECIPE, tell=lambda word: None):
    setup = replace(setup_of(), precision=recipe.precision)
    return fastest(setup, State.of(setup.model), recipe, tell)


def test_the_engine_is_probed_once_and_then_remembered(probes):
    words = []
    first, again = choose(tell=words.append), choose(tell=words.append)
    assert first == again == CHOSEN
    assert len(probes) == 1 and words == ["trying which engine is fastest for mlp"]
    ((name, record),) = remembered().items()
    assert name.startswith("mlp width 12, 1x4x4, batch 8, cpu") and torch.__version__ in name
    assert Engine(**record["engine"]) == CHOSEN
    assert record["ms_per_member_step"] == {"0": 1.0, "2": 0.9, "4": 0.5}


def test_what_is_remembered_is_used(probes):
    choose()
    engines_file().write_text(engines_file().read_text().replace('"members": 4', '"members": 3'))
    assert choose() == choose(tell=None) == replace(CHOSEN, members=3) and len(probes) == 1


def test_nothing_is_probed_where_no_one_is_told(probes):
    assert choose(tell=None) == Engine() and not probes and not remembered()


@pytest.mark.parametrize(
    "change", [dict(model="resnet8"), dict(width=None), dict(batch_size=9), dict(precision="bfloat16")], ids=str
)
def test_another_network_batch_size_or_precision_is_probed_too_and_nothing_is_forgotten(probes, change):
    choose()
    choose(recipe=replace(RECIPE, **change))
    assert len(probes) == 2 and len(remembered()) == 2
    choose(recipe=replace(RECIPE, seed=5, epochs=7))
    assert len(probes) == 2


@pytest.mark.parametrize(("times", "members"), [(TIMES, 4), ({0: 1e-3, 2: 9e-4}, 0)])
def test_what_bfloat16_would_take_is_remembered_with_the_engine_that_was_measured(monkeypatch, times, members):
    asked, setup = [], setup_of()
    monkeypatch.setattr(engine, "probe", lambda *args: times)
    monkeypatch.setattr(half, "measured", lambda *args: (asked.append(args), {"bfloat16": 0.42})[1])
    start = State.of(setup.model)
    assert record_of(setup, RECIPE) == {}
    assert fastest(setup, start, RECIPE, lambda word: None) == fastest(setup, start, RECIPE)
    assert asked == [(setup, start, members)]
    assert [record_of(setup, RECIPE)] == list(remembered().values()) and record_of(setup, RECIPE)["bfloat16"] == 0.42
    assert record_of(setup, replace(RECIPE, batch_size=9)) == {}


GRAPH = Engine("graph", 16, 1, seconds=1e-3)


@pytest.mark.parametrize("stage", [engine._with_patches, engine._compiled])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_memory_runs_out_in_a_try_is_not_taken(monkeypatch, stage, error):
    """Pitfall: a study that ends because a faster way than its own could not be tried."""

    def seconds(trial, members):
        raise error

    monkeypatch.setattr(timing.Trial, "seconds", seconds)
    setup = setup_of()
    start = State.of(setup.model)
    left = stage(GRAPH, setup, start)
    assert replace(left, compiled=0.0, compiling=0.0) == GRAPH and left.pays_from == math.inf
    assert (left.compiling > 0) == (stage is engine._compiled)  # so that it is not tried again
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        stage(GRAPH, setup, start)


DAMAGED = {
    "nothing": "",
    "half": "{",
    "a list": "[]",
    "a number": "3",
    "a text": '"text"',
    "nested deeply": '{"mlp": ' * 100_000,
    "no text": b"\xff\xfe\x00\x80",
    "huge": "[" + "0," * 2**20 + "0]",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_as_none_and_made_anew(probes, damage):
    engines_file().parent.mkdir(parents=True)
    content = DAMAGED[damage]
    engines_file().write_bytes(content if isinstance(content, bytes) else content.encode())
    assert remembered() == {}
    assert choose() == choose() == CHOSEN
    assert len(probes) == 1 and len(remembered()) == 1


HOSTILE = [
    *({"kind": kind} for kind in ("auto", "graph", "loops", 3, None, ["batched"])),
    *({"members": n} for n in ("7", -1, 0, 1e9, 10**9, 4.0, True, math.nan, None, [4])),
    *({"least": n} for n in ("2", 0, -1, True, 1e9)),
    *({"compiled": t} for t in ("0.1", -1, math.nan)),
    *({"compiling": t} for t in (True, -1, math.inf)),
    *({"unfolded": t} for t in (0, 1, "yes", None)),
    *({"seconds": t} for t in ("0.1", -1, math.nan, math.inf, None, [[]])),
    {"precision": "bfloat16"},
    {"precision": ["float32"]},
    {"what": 1},
]
HOSTILE_TIMES = [{}, 3, [], {"0": "1.0"}, {"0": 0}, {"0": math.nan}, {"4": 0.5}, {"0": 1.0, "four": 0.5}, {"0": [1.0]}]
RECORDS = [
    *({"engine": change} for change in HOSTILE),
    *({"ms_per_member_step": times} for times in HOSTILE_TIMES),
    {"engine": [["kind", "batched"]]},
    {"engine": "batched"},
    *({"bfloat16": share} for share in ("0.4", 0, -0.4, math.nan, math.inf, None, True, [0.4])),
]


@pytest.mark.parametrize("change", RECORDS, ids=str)
def test_an_entry_that_makes_no_sense_is_measured_anew_and_the_others_stay(probes, change):
    """Pitfall: a cache that is believed, or one bad entry that costs all."""
    choose()
    choose(recipe=replace(RECIPE, batch_size=9))
    known = json.loads(engines_file().read_text())
    name = next(name for name in known if "batch 8" in name)
    for field, value in change.items():
        known[name][field] = known[name]["engine"] | value if field == "engine" and isinstance(value, dict) else value
    engines_file().write_text(json.dumps(known))
    good = change.get("engine") == {"kind": "graph"}  # of another machine's GPU: sound, but not for this device
    assert len(remembered()) == (2 if good else 1)
    assert "remembered in" in doctor.table(list(doctor._engines()))
    assert choose() == CHOSEN and len(probes) == 3 and len(remembered()) == 2


def test_an_entry_of_an_earlier_version_is_used(probes):
    choose()
    known = json.loads(engines_file().read_text())
    for record in known.values():
        record["engine"]["precision"] = "float32"
    engines_file().write_text(json.dumps(known))
    assert choose(tell=None) == CHOSEN and len(probes) == 1


# ---- compiled and unfolded steps -------------------------------------------------------------------------------------


@pytest.fixture
def trials(monkeypatch, probes):
    """A CPU that passes for a GPU, with a graph of 4 members at 0.5 ms; each trial with what it is of."""
    made, times = [], {(True, False): 4e-4, (True, True): 2e-4}

    class Trial:
        def __init__(self, setup, start, *, unfolded=False, compiled=False):
            self.how = unfolded, compiled

        def seconds(self, members):
            made.append((members, *self.how))
            if isinstance(times[self.how], Exception):
                raise times[self.how]
            return times[self.how]

    monkeypatch.setattr(engine, "TOGETHER", {"cpu": "graph"})
    monkeypatch.setattr(engine, "Trial", Trial)
    made_at = itertools.count(0, 10)
    monkeypatch.setattr(engine.time, "perf_counter", lambda: next(made_at))
    return made, times


def choose_for(steps, words=None):
    setup = setup_of()
    tell = (lambda word: None) if words is None else words.append
    return fastest(setup, State.of(setup.model), RECIPE, tell, steps)


def test_compiling_is_tried_once_where_there_is_much_to_do_and_remembered(trials):
    made, words = trials[0], []
    few, many, again = choose_for(100, words), choose_for(2e5, words), choose_for(2e5, words)
    assert few == Engine("graph", 4, 2, 4e-4, unfolded=True)
    assert many == again == replace(few, compiled=2e-4, compiling=10)
    assert made == [(4, True, False), (4, True, True)]
    assert words == ["trying which engine is fastest for mlp", "trying whether compiling pays for mlp"]
    assert choose_for(100) == many, "what is known is used"
    assert str(many) == "graph, up to 4 at once, compiled from 50,000 steps on"


def test_without_anyone_told_compiling_is_not_tried(trials):
    choose_for(100)
    setup = setup_of()
    assert fastest(setup, State.of(setup.model), RECIPE, None, 1e9).compiling == 0 and len(trials[0]) == 1


def test_unfolding_that_is_not_faster_is_not_taken(trials):
    trials[1][True, False], trials[1][False, True] = 6e-4, 5.5e-4
    found = choose_for(1e6)
    assert (found.unfolded, found.seconds, found.compiled) == (False, 5e-4, 5.5e-4)
    assert found.pays_from == math.inf and str(found) == "graph, up to 4 at once"


def test_a_network_that_cannot_be_compiled_is_not_compiled_again_and_again(trials):
    trials[1][True, True] = BadInput("no compiler")
    assert choose_for(1e6) == choose_for(1e6) and choose_for(1e6).pays_from == math.inf
    assert len(trials[0]) == 2


@pytest.mark.parametrize(
    ("chosen", "steps", "wanted"),
    [
        (Engine("batched", 4), 1e9, (False, False, 0)),
        (Engine("graph", 4), 1e9, (True, False, 500)),
        (Engine("graph", 4, seconds=5e-4, compiled=3e-4, compiling=20), 99_999, (True, False, 500)),
        (Engine("graph", 4, seconds=5e-4, compiled=3e-4, compiling=20), 100_001, (True, True, 20 / 3e-4)),
        (Engine("compiled", 4), 1, (True, True, 30_000)),
    ],
)
def test_steps_are_compiled_where_what_is_left_is_worth_it(monkeypatch, chosen, steps, wanted):
    monkeypatch.setattr(engine.Way, "of", lambda model, **how: engine.Way(how, how))
    way = chosen.way(setup_of(), steps)
    how = way.forward
    assert (how["recorded"], how["compiled"]) == wanted[:2] and way.rebuild == pytest.approx(wanted[2])


def test_a_network_with_noise_is_never_compiled(monkeypatch):
    monkeypatch.setattr(engine.Way, "of", lambda model, **how: engine.Way(how, how))
    assert not Engine("compiled", 4).way(setup_of(nn.Dropout(0.5)), 1e9).forward["compiled"]


def test_an_entry_of_a_gpu_from_before_there_were_patches_is_measured_anew_where_someone_is_told(probes, monkeypatch):
    monkeypatch.setitem(engine.TOGETHER, "cpu", "graph")
    monkeypatch.setattr(engine, "_with_patches", lambda chosen, *args: replace(chosen, unfolded=True))
    chosen = replace(CHOSEN, kind="graph", unfolded=True)
    assert choose() == choose() == chosen and len(probes) == 1
    known = json.loads(engines_file().read_text())
    for record in known.values():
        del record["engine"]["unfolded"]
    engines_file().write_text(json.dumps(known))
    assert choose(tell=None) == replace(chosen, unfolded=False) and len(probes) == 1
    assert choose() == choose(tell=None) == chosen and len(probes) == 2


def test_processes_that_choose_at_the_same_time_keep_one_anothers_choice(probes, monkeypatch):
    """The other's choice lands while this one's probe runs."""
    other = {"engine": {"kind": "loop"}, "ms_per_member_step": {"0": 1.0}}
    monkeypatch.setattr(engine, "probe", lambda *_: (engine._remember("other", other), TIMES)[1])
    choose()
    assert len(remembered()) == 2 and remembered()["other"] == other


def test_without_a_file_nothing_is_remembered():
    assert remembered() == {}


def test_a_folder_that_cannot_be_written_only_costs_another_probe(probes, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose() == choose() == CHOSEN
    assert len(probes) == 2 and remembered() == {}


# ---- the probe -------------------------------------------------------------------------------------------------------


def test_a_probe_measures_the_loop_and_some_numbers_of_members_and_changes_nothing():
    setup = setup_of(nn.BatchNorm2d(4), dtype=torch.float32)
    start = State.of(setup.model)
    before, threads = start.copy(), torch.get_num_threads()
    times = probe(setup, start)
    numbers = list(times)
    assert numbers[:2] == [0, 2] and numbers == [0, *timing.LADDERS["cpu"]][: len(numbers)]
    assert all(0 < t < 1 for t in times.values())
    for part in ("params", "buffers", "momentum"):
        assert all(torch.equal(t, getattr(before, part)[n]) for n, t in getattr(start, part).items())
    assert torch.get_num_threads() == threads


def test_a_probe_stops_at_the_loop_where_a_step_is_slow(monkeypatch):
    monkeypatch.setattr(timing, "SLOW", 0.0)
    monkeypatch.setattr(together, "train", lambda *args, **more: pytest.fail("batched"))
    times = probe(setup_of(), State.of(network()))
    assert list(times) == [0] and decide(times, "batched").kind == "loop"


@pytest.mark.parametrize(
    ("seconds", "tried"),
    [
        ({2: 0.9, 4: 0.6, 8: 0.4, 16: 0.3, 32: 0.2}, [0, 2, 4, 8, 16, 32]),
        ({2: 0.9, 4: 0.6, 8: 0.61, 16: 0.3, 32: 0.4}, [0, 2, 4, 8, 16, 32]),  # 8 may have been disturbed
        ({2: 0.9, 4: 0.6, 8: 0.61, 16: 0.62, 32: 0.2}, [0, 2, 4, 8, 16]),
        ({2: 0.9, 4: 0.6, 8: 0.67, 16: 0.2}, [0, 2, 4, 8]),
        ({2: 1.05, 4: 1.05, 8: 0.2}, [0, 2, 4]),
        ({2: 1.5, 4: 0.9, 8: 1.2, 16: 0.2}, [0, 2, 4, 8]),
        ({2: 1.5, 4: 1.2, 8: 0.2}, [0, 2, 4]),
    ],
)
def test_a_probe_goes_no_further_when_more_members_take_more_time(monkeypatch, seconds, tried):
    def trained(setup, job, stop=None):
        return state.Trained(job.start, (), len(job.curve), 1e-3 * len(job.curve))

    def several(setup, jobs, **options):
        n = len(jobs)
        for i, job in enumerate(jobs):
            yield i, state.Trained(job.start, (), len(job.curve), 1e-3 * seconds[n] * len(job.curve))

    monkeypatch.setattr(loop, "train", trained)
    monkeypatch.setattr(together, "train", several)
    times = probe(setup_of(), State.of(network()))
    assert list(times) == tried
    assert times == pytest.approx({0: 1e-3} | {n: 1e-3 * seconds[n] for n in tried[1:]})


def test_a_probe_goes_no_further_when_memory_runs_out(monkeypatch):
    Memory(monkeypatch, 4)
    assert set(probe(setup_of(), State.of(network()))) <= {0, 2, 4}


def test_the_members_of_a_probe_share_no_slot(monkeypatch):
    real, slots = together.train, []

    def several(setup, jobs, **options):
        slots.append((len(jobs), len(in_slots(jobs))))
        return real(setup, jobs, **options)

    monkeypatch.setattr(together, "train", several)
    probe(setup_of(), State.of(network()))
    assert slots and all(members == own for members, own in slots)
