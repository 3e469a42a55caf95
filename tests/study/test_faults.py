"""What goes wrong while studies run: nothing finished is lost, nothing finished is made again, and the numbers are the same.

docs/reliability.md has a table of what is tried here, which is compared with this list.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from retrainlab.study.claims import Claims
from retrainlab.study.run import run_study
from retrainlab.study.store import Store
from tests.helpers import faults
from tests.helpers.forks import PLAN, THINGS, Change, Ended, Forks, Order, ended, kept
from tests.helpers.said import SAID, says

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

pytestmark = pytest.mark.xdist_group("faults")  # for all of them one process loads torch


@dataclass
class Lab:
    """Studies of one plan, each in a folder of its own; what each has made at its end is looked at."""

    forks: Forks
    folder: Path
    count: int = 0

    def order(self, store: Path, change: Change | None = None) -> Order:
        self.count += 1
        return Order(store, self.folder / f"{self.count}.out", change)

    def go(self, store: Path, change: Change | None = None) -> Ended:
        """A study from its beginning to its end."""
        with Whole(store) as made:
            order = self.order(store, change)
            out = ended(order, self.forks.wait(self.forks.start(order)))
            made += out.begun
        return out


class Whole:
    """Nothing that is kept when it begins is lost, changed, or made again by the runs that are begun in it."""

    def __init__(self, store: Path):
        self.store, self.begun = store, []

    def __enter__(self) -> list[str]:
        self.before = kept(self.store)
        return self.begun

    def __exit__(self, *_: object) -> None:
        after = kept(self.store)
        assert {name: after.get(name) for name in self.before} == self.before, "lost"
        assert not {Path(name).stem for name in self.before} & set(self.begun), "doubled"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    forks = Forks()
    yield Lab(forks, tmp_path_factory.mktemp("ended"))
    forks.close()


@pytest.fixture(scope="module")
def calm(lab, tmp_path_factory) -> pd.DataFrame:
    """The table of a study that nothing disturbs."""
    return facts(lab.go(tmp_path_factory.mktemp("calm")).table)


def facts(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="images_per_second")


def right(out: Ended, calm: pd.DataFrame) -> None:
    """Not one bit is wrong."""
    assert (out.code, out.said) == (0, "")
    pd.testing.assert_frame_equal(facts(out.table), calm, check_exact=True)


def test_a_study_that_is_killed_at_any_moment_goes_on(lab, calm, tmp_path):
    draw, kills, place = random.Random(0), 0, 0
    while kills < 50:
        store = tmp_path / str(place)
        while True:
            with Whole(store) as made:
                study = lab.forks.start(order := lab.order(store))
                if kills < 50:
                    time.sleep(draw.expovariate(4))
                    os.killpg(study, signal.SIGKILL)
                out = ended(order, lab.forks.wait(study))
                made += out.begun
            if out.code == 0:
                break
            assert out.code == -signal.SIGKILL
            kills += 1
        right(out, calm)
        place += 1


def test_processes_that_share_a_study_make_nothing_twice_and_one_takes_over_from_another(lab, calm, tmp_path):
    for number in (2, 3):
        store, gone = tmp_path / str(number), []
        orders = [lab.order(store) for _ in range(number)]
        studies = [lab.forks.start(order) for order in orders]
        if number == 3:
            waited(partial(more_than, 6, store))
            lab.forks.kill(studies.pop())
            gone = ended(orders.pop(), -signal.SIGKILL).begun
        since = time.monotonic()
        outs = [ended(order, lab.forks.wait(study)) for order, study in zip(orders, studies)]
        assert time.monotonic() - since < 60, "sooner than one is taken for dead that gives no sign"
        for out in outs:
            right(out, calm)
        made = [key for out in outs for key in out.begun] + gone
        assert THINGS <= len(made) <= THINGS + bool(gone) and len(set(made)) == THINGS


def test_of_a_process_that_stood_still_no_result_is_kept_that_another_has_made(lab, calm, tmp_path):
    study = lab.forks.start(one := lab.order(tmp_path, faults.still))
    waited(lambda: "stopped" in state(study))
    other = lab.go(tmp_path, faults.impatient)
    right(other, calm)
    before = kept(tmp_path)
    os.kill(study, signal.SIGCONT)
    right(ended(one, lab.forks.wait(study)), calm)
    assert kept(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a disk that gets full")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_goes_on_once_there_is_room(lab, calm, small_disk):
    moments = [(Claims, "take", 1), (Store, "put", 1), (Claims, "take", 3), (Store, "put", 2), (Store, "put", 3)]
    for owner, name, number in moments:
        out = lab.go(small_disk, partial(faults.full, owner, name, number))
        said = re.sub(r"\(Error while .*: (No space left on device) .*\)\);", r"(\1);", out.said)
        says("the disk is full", said, small_disk)
        (small_disk / faults.FILLER).unlink()
    assert len(moments) == SAID["the disk is full"][0]
    right(lab.go(small_disk), calm)


def test_a_store_that_may_only_be_read_is_one_sentence_before_any_work(lab, calm):
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        lab.go(store, faults.all_but_one)
        for path in (store, *store.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        out = lab.go(store, faults.nobody)
        says("the store is read-only", out.said, store)
        assert not out.begun
        for path in (store, *(p for p in store.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        right(lab.go(store), calm)


def test_a_clock_that_is_set_back_changes_nothing(lab, calm, tmp_path):
    study = lab.forks.start(lab.order(tmp_path))
    waited(partial(more_than, 4, tmp_path))
    lab.forks.kill(study)
    right(lab.go(tmp_path, faults.wrong_clock), calm)


@pytest.mark.parametrize("change", [partial(faults.no_memory, 4), partial(faults.little_memory, 30 << 20)])
def test_where_memory_runs_out_what_is_finished_is_kept(lab, calm, tmp_path, change):
    out = lab.go(tmp_path, change)
    says("memory runs out", re.sub(", and with it [0-9]+ runs that need it", "", out.said), tmp_path)
    right(lab.go(tmp_path), calm)


def test_a_run_that_diverges_is_a_result_and_is_not_run_again(tmp_path):
    wild = [replace(PLAN[0], retrain=replace(PLAN[0].retrain, schedule="constant", lr=1e30))]
    more = {"store": tmp_path, "jobs": 1, "device": "cpu", "engine": "loop", "progress": lambda *_: None}
    table = run_study(wild, **more)
    assert table["outcome"].str.startswith("diverged").all()
    pd.testing.assert_frame_equal(run_study(wild, **more, stored_only=True), table)


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_numbers_that_are_none_are_not_kept_whoever_brings_them(lab, calm, tmp_path, number):
    out = lab.go(tmp_path, partial(faults.wrong_number, number))
    says("a worker elsewhere brings NaN or infinity", out.said, tmp_path)
    right(lab.go(tmp_path), calm)


def test_an_executor_whose_process_is_killed_is_one_sentence(lab, calm, tmp_path):
    first = lab.go(tmp_path, partial(faults.killed_executor, 1))
    words = "The executor broke .[^;]*[a-z]. before any run began; the same call begins anew."
    assert re.fullmatch(words, first.said), "while it tries which engine is fastest"
    for number in (2, 4):
        out = lab.go(tmp_path, partial(faults.killed_executor, number))
        says("a process of an executor is killed", out.said, tmp_path)
    right(lab.go(tmp_path), calm)


def test_the_page_tells_what_was_tried():
    rows = [f"| {what} | {times} | 0 | 0 | 0 | {said} |" for what, (times, said) in SAID.items()]
    table = ["| what happens | times | lost | doubled | wrong | what is said |", "|---|---|---|---|---|---|", *rows]
    assert "\n".join(table) in PAGE.read_text(), "\n".join(table)


def more_than(number: int, store: Path) -> bool:
    return len(kept(store)) > number


def waited(for_what) -> None:
    deadline = time.monotonic() + 60
    while not for_what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(process: int) -> str:
    return Path(f"/proc/{process}/status").read_text()
