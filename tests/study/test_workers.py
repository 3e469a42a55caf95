"""Workers: where they start, what a dead one takes with it, and that nothing else is lost."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from retrainlab.checks import BadInput, Stopped, WorkerDied
from retrainlab.study import processes
from retrainlab.study.ledger import Task
from retrainlab.study.processes import Workers
from retrainlab.study.serving import advance
from retrainlab.study.sitting import Sitting
from retrainlab.study.workers import run_tasks
from tests.helpers.works import die, fail, half_then_die, leave, note, odd, run_out, write_slowly

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def light():
    """The work here needs no torch, which takes seconds to load."""
    with pytest.MonkeyPatch.context() as patch:
        lean = "\n".join(line for line in processes.START.splitlines() if "torch" not in line)
        patch.setattr(processes, "START", lean)
        yield


@pytest.fixture(scope="module")
def pool(light):
    with Workers(2) as workers:
        yield workers


@dataclass
class Heard:
    """What a study's progress was told."""

    words: tuple[str, ...] = ()

    def __call__(self, share: float, words: str) -> None:
        self.words += (words,)


def task(name: str, work, *args, needs=(), runs=1, first=0) -> Task:
    return Task((len(needs), first, 0), name, work, args, 1.0, frozenset(needs), runs, f"run {name}")


# ---- where they start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_a_program_without_a_main_guard_has_workers(tmp_path, way):
    """Pitfall: workers that import the user's script run it again."""
    code = f"""
import os
from pathlib import Path
from retrainlab.study import processes
from retrainlab.study.ledger import Task
from retrainlab.study.workers import run_tasks
processes.START = {processes.START!r}
print("once", flush=True)
todo = [Task((0, 0.0, i), str(i), Path.mkdir, (Path({str(tmp_path)!r}) / str(i),), 1.0, frozenset()) for i in range(2)]
run_tasks(todo, 2, lambda *_: None, "here")
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    more = {"args": [sys.executable, str(script)]} if way == "script" else {"args": [sys.executable], "input": code}
    done = subprocess.run(**more, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n", "")
    assert (tmp_path / "0").is_dir() and (tmp_path / "1").is_dir()


@pytest.mark.parametrize("way", ["forbidden", "no threads", "ends at once", "cannot import"])
def test_where_no_worker_can_be_started_this_process_does_the_work_with_one_word(tmp_path, monkeypatch, way):
    def refuses(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    if way == "forbidden":
        monkeypatch.setattr(subprocess, "Popen", refuses)
    elif way == "no threads":
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    elif way == "ends at once":
        monkeypatch.setattr(processes, "START", "raise SystemExit(3)")
    else:
        monkeypatch.setattr(
            processes, "START", processes.START.replace("retrainlab.study.serving", "retrainlab.absent")
        )
    heard = Heard()
    with pytest.warns(UserWarning) as warned:
        run_tasks([task(str(i), note, tmp_path / str(i)) for i in range(4)], 2, heard, "here")
    assert {(tmp_path / str(i)).read_text() for i in range(4)} == {str(os.getpid())}
    assert len(warned) == 1 and "No worker can be started here" in str(warned[0].message)
    reason = {"forbidden": "not permitted", "no threads": "thread", "ends at once": "exit code 3"}
    assert reason.get(way, "ModuleNotFoundError") in str(warned[0].message)
    assert heard.words[-1] == "4 of 4 runs"


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The one process that can be started, once it is: there is room for no other."""
    real, started = subprocess.Popen, []

    def one(*args, **more):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(real(*args, **more))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", one)
    return started


def test_where_one_worker_can_be_started_it_does_all(tmp_path, started):
    run_tasks([task(str(i), note, tmp_path / str(i)) for i in range(4)], 2, Heard(), "here")
    assert {(tmp_path / str(i)).read_text() for i in range(4)} == {str(started[0].pid)}


# ---- what a dead one takes with it -----------------------------------------------------------------------------------


def test_a_task_whose_worker_died_is_tried_once_more_alone(tmp_path, pool):
    """Pitfall: one dead process breaks the whole pool."""
    todo = [task("a", die, tmp_path / "alone", runs=2, first=-1), task("c", note, tmp_path / "c", needs=["a"])]
    todo += [task(f"b{i}", note, tmp_path / f"b{i}") for i in range(3)]
    heard = Heard()
    run_tasks(todo, pool, heard, "here")
    assert (tmp_path / "alone").read_text() == "1"
    assert all((tmp_path / name).exists() for name in ("b0", "b1", "b2", "c"))
    assert heard.words[-1] == "6 of 6 runs"


def test_a_task_that_kills_its_worker_twice_is_named_and_all_others_are_kept(tmp_path, pool):
    todo = [task("a", die), task("b", note, tmp_path / "b", needs=["a"], runs=3), task("c", note, tmp_path / "c")]
    heard = Heard()
    with pytest.raises(WorkerDied) as died:
        run_tasks(todo, pool, heard, "here")
    assert str(died.value) == (
        "Failed: run a (its worker was killed by SIGKILL, twice; out of memory?), and with it 3 runs that need it; "
        "1 of 5 runs are kept in here, and the same command tries the others again."
    )
    assert (tmp_path / "c").exists() and not (tmp_path / "b").exists()
    run_tasks([task("d", note, tmp_path / "d")], pool, heard, "here")
    assert (tmp_path / "d").read_text() != str(os.getpid()), "the workers can be used again"


@pytest.mark.usefixtures("started")
def test_what_has_killed_a_worker_is_not_done_by_this_process(tmp_path):
    todo = [task("a", die, first=-1), task("b", note, tmp_path / "b")]
    with pytest.warns(UserWarning, match="No worker can be started"):
        with pytest.raises(WorkerDied, match="run a .its worker died, and no other could be started"):
            run_tasks(todo, 2, Heard(), "here")
    assert (tmp_path / "b").exists()


NO_MEMORY = [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.")]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_task_that_ran_out_of_memory_beside_others_is_tried_once_more(tmp_path, pool, error):
    run_tasks([task("a", run_out, tmp_path / "a", error), task("b", note, tmp_path / "b")], pool, Heard(), "here")
    assert (tmp_path / "a").exists() and (tmp_path / "b").exists()


@pytest.mark.parametrize("error", [*NO_MEMORY, torch.OutOfMemoryError("CUDA")], ids=lambda error: type(error).__name__)
def test_a_task_that_runs_out_of_memory_alone_is_named_and_the_others_go_on(tmp_path, error):
    todo = [task("a", fail, error), task("b", note, tmp_path / "b"), task("c", note, tmp_path / "c", needs=["a"])]
    words = "Failed: run a .memory ran out; .*, and with it 1 run that needs it; 1 of 3 runs are kept in here"
    with pytest.raises(WorkerDied, match=words):
        run_tasks(todo, 1, Heard(), "here")
    assert (tmp_path / "b").exists() and not (tmp_path / "c").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_comes_when_all_others_have_ended(tmp_path, pool, workers):
    todo = [task("a", fail, KeyError("lost")), task("b", note, tmp_path / "b"), task("c", die, needs=["a"])]
    with pytest.raises(KeyError, match="lost") as raised:
        run_tasks(todo, pool if workers > 1 else 1, Heard(), "here")
    assert "1 of 3 runs are kept" in raised.value.__notes__[-1] and "run a" in raised.value.__notes__[-1]
    assert workers == 1 or "in fail" in raised.value.__notes__[0]
    assert (tmp_path / "b").exists()


def test_bad_input_comes_at_once(tmp_path):
    todo = [
        task("a", fail, BadInput("No.")),
        task("b", note, tmp_path / "b", needs=["c"]),
        task("c", note, tmp_path / "c"),
    ]
    with pytest.raises(BadInput, match="No."):
        run_tasks(todo, 1, Heard(), "here")
    assert not (tmp_path / "b").exists()


def test_what_cannot_be_packed_or_printed_does_not_end_a_worker(pool):
    """Pitfall: what a library prints mixes with what a worker answers."""
    assert pool.submit(os.write, 1, b"").result() == 0
    assert pool.submit(os.system, "echo printed by a worker").result() == 0
    with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
        pool.submit(odd).result()
    with pytest.raises(Exception, match="pickle"):
        pool.submit(lambda: 1).result()
    with pytest.raises(Exception, match="pickle"):
        pool.submit(threading.Lock).result()
    assert pool.submit(int, "7").result() == 7


# ---- stopped, and beside others --------------------------------------------------------------------------------------


def test_ctrl_c_ends_what_runs_and_the_workers_can_be_used_again(tmp_path, pool):
    def press(share, words):
        if words.startswith("1 of"):
            raise KeyboardInterrupt

    todo = [task("a", note, tmp_path / "a"), *(task(f"b{i}", time.sleep, 600, first=1) for i in range(3))]
    start = time.monotonic()
    with pytest.raises(Stopped, match="1 of 4 runs are finished and kept in here"):
        run_tasks(todo, pool, press, "here")
    assert pool.submit(int, "3").result() == 3 and time.monotonic() - start < 60


def test_processes_say_what_they_have_made_in_a_sitting_and_are_ended_when_its_time_is_spent(tmp_path, pool):
    heard, begun = Heard(), time.monotonic()
    todo = [task("a", leave, runs=2), task("b", time.sleep, 600, first=1), task("c", note, tmp_path / "c", first=2)]
    run_tasks(todo, pool, heard, "here", Sitting(0.0001))
    run_tasks(todo[:2], pool, heard, "here", Sitting(0.05))
    assert heard.words[-1] == "1 of 3 runs" and 3 <= time.monotonic() - begun < 60
    assert not (tmp_path / "c").exists() and pool.submit(int, "3").result() == 3


def test_workers_that_have_been_shut_down_refuse_work_rather_than_let_it_wait_for_ever():
    with Workers(1) as pool:
        pass
    with pytest.raises(RuntimeError, match="have been shut down"):
        pool.submit(int, "3")


def test_what_is_ended_while_it_writes_leaves_nothing_half_written(tmp_path):
    """Pitfall: a killed process leaves its temporary file behind."""
    with Workers(1) as pool:
        pool.submit(write_slowly, tmp_path / "a")
        while not (tmp_path / "a.begun").exists():
            time.sleep(0.01)
        pool.terminate()
    assert [p.name for p in tmp_path.iterdir()] == ["a.begun"]


def test_a_study_goes_on_when_another_that_shares_its_workers_is_stopped(tmp_path):
    with Workers(1) as pool:
        pool.submit(time.sleep, 600)
        args = [task("a", note, tmp_path / "a")], pool, Heard(), "here"
        beside = threading.Thread(target=run_tasks, args=args)
        beside.start()
        while pool._jobs.empty():
            time.sleep(0.01)
        pool.terminate()
        beside.join(60)
        assert (tmp_path / "a").exists()


def climb(barrier: threading.Barrier, made: int) -> None:
    barrier.wait(10)
    advance(0.5, made)
    barrier.wait(10)


def test_studies_in_two_threads_of_one_process_keep_their_progress_apart():
    barrier, heard = threading.Barrier(2), [Heard(), Heard()]
    work = [([task("same", climb, barrier, 3 + i, runs=9)], 1, heard[i], "here") for i in range(2)]
    threads = [threading.Thread(target=run_tasks, args=args) for args in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        assert heard[i].words == ("0 of 9 runs", f"{3 + i} of 9 runs", "9 of 9 runs")


def test_a_progress_that_was_heard_in_a_first_try_does_not_fall_in_the_second(tmp_path, pool):
    seen = []
    run_tasks([task("a", half_then_die, tmp_path / "a", runs=4)], pool, lambda done, *_: seen.append(done), "here")
    assert seen == sorted(seen) and seen[-1] == 1.0 and 0.5 in seen
