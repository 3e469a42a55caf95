"""A real Dask scheduler and workers as processes on loopback, each with a folder of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from retrainlab.checks import BadInput, Stopped, WorkerDied
from retrainlab.config import Recipe
from retrainlab.study import away, cluster
from retrainlab.study.cluster import Cluster, connected
from retrainlab.study.grids import grid
from retrainlab.study.processes import Died
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.store import Store
from tests.helpers.works import half

pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]
RECIPE = Recipe(model="mlp", width=8, epochs=10)
MANY = grid(RECIPE, sparsities=(0.5, 0.9), budgets=(0.5, 1.0), schedules=("FT", "LLR"), seeds=2)


class Processes:
    """Scheduler and workers of a cluster, as `dask` starts them."""

    def __init__(self, folder: Path):
        self.folder, self.all = folder, []
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        port = self.address.rpartition(":")[2]
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", port)
        deadline = time.monotonic() + 60
        with socket.socket() as one:
            while one.connect_ex(("127.0.0.1", int(port))) and time.monotonic() < deadline:
                time.sleep(0.1)

    def start(self, kind: str, *args: str) -> subprocess.Popen:
        own = self.folder / f"{kind}{len(self.all)}"
        own.mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(own / "cache"),
        }
        environment |= {"RETRAINLAB_STORE": str(own / "store"), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *args, "--no-dashboard"]
        with open(own / "log", "w") as log:
            self.all.append(subprocess.Popen(command, cwd=own, env=environment, stdout=log, stderr=log))
        return self.all[-1]

    def worker(self) -> subprocess.Popen:
        more = [
            "--nthreads",
            "1",
            "--no-nanny",
            "--death-timeout",
            "60",
            "--local-directory",
            str(self.folder / "spill"),
        ]
        return self.start("worker", self.address, *more)

    def close(self) -> None:
        for process in self.all:
            process.kill()
        for process in self.all:
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def processes(tmp_path):
    (tmp_path / "dask").mkdir()
    made = Processes(tmp_path / "dask")
    yield made
    made.close()


def facts(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="images_per_second")


def test_a_study_on_three_workers_of_which_one_is_killed_and_one_joins_is_the_local_one(processes, tmp_path):
    """Each result once, bit for bit; no worker has written a store, and the client's holds nothing else."""
    first, *_ = [processes.worker() for _ in range(3)]
    told = []

    def tell(share: float, words: str) -> None:
        told.append(words)
        if re.match(r"[1-9]\d* of 22 runs", words) and first.poll() is None:
            first.send_signal(signal.SIGKILL)
            first.wait()
            processes.worker()

    asked = dict(device="cpu", engine="loop")
    with connected(processes.address) as client:
        table = run_study(MANY, store=tmp_path / "far", client=client, progress=tell, **asked)
        assert len(client.nthreads()) == 3
    assert first.returncode == -signal.SIGKILL and told[-1].startswith("22 of 22 runs on 3 Dask workers")
    local = run_study(MANY, store=tmp_path / "near", jobs=1, progress=lambda *_: None, **asked)
    pd.testing.assert_frame_equal(facts(table), facts(local), check_exact=True)
    assert not list(processes.folder.glob("*/store"))
    there = Store(tmp_path / "far")
    assert there.count() == {"dense": 2, "pruned": 4, "results": 16} and Results(there).dense(RECIPE, "cpu")
    assert not (tmp_path / "far" / "damaged").exists() and not list((tmp_path / "far" / "claims").glob("*-*"))


def test_ctrl_c_keeps_what_is_finished_and_lets_workers_go(processes, tmp_path, monkeypatch):
    """And a study that finds no worker waits for the first."""
    told: list[str] = []

    def press(share: float, words: str) -> None:
        if not told and "no worker yet" in words:
            processes.worker()
        told.append(words)
        if words.startswith("2 of"):
            raise KeyboardInterrupt

    with connected(processes.address) as client:
        with pytest.raises(Stopped, match="2 of 22 runs are finished and kept"):
            run_study(MANY, store=tmp_path / "far", client=client, device="cpu", engine="loop", progress=press)
        deadline = time.monotonic() + 60
        while any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(client.processing().values()), "the worker has left what it was at"
        crew = Cluster(client, Results.at(tmp_path / "far"), "cpu", "loop")
        processes.worker()
        heard: list[tuple[float, int]] = []
        crew.submit("slow", lambda *told: heard.append(told), half, 1.1 * cluster.OFTEN).result(timeout=60)
        assert heard[0] == (0.5, 1), "while it ran"
        crew.finish()
        deadline, unwanted = time.monotonic() + 30, {}
        while not (unwanted and all(unwanted.values())) and time.monotonic() < deadline:
            unwanted = client.run(lambda study=crew.study: study in away._stopped)
        assert unwanted and all(unwanted.values()), "what workers are at for this study ends"
        died = crew.submit("poison", lambda *_: None, os._exit, 1).exception(timeout=60)
        assert isinstance(died, Died) and str(died) == "died 2 times"
        crew.close()
        kill = threading.Thread(target=lambda: (time.sleep(0.5), processes.scheduler.kill()))
        kill.start()
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(WorkerDied, match="scheduler is out of reach.*(runs are kept|begins anew)"),
        ):
            patch.setattr(cluster, "PATIENCE", 1.0)
            run_study(
                MANY, store=tmp_path / "far", client=client, device="cpu", engine="loop", progress=lambda *_: None
            )
    assert 2 <= sum(Store(tmp_path / "far").count().values()) < 22


def test_without_a_scheduler_one_sentence_says_how_to_start_one(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    with pytest.raises(BadInput, match="There is no scheduler at 'tcp://127.0.0.1:1'.*start one with `dask scheduler`"):
        with connected("tcp://127.0.0.1:1"):
            pass
    with monkeypatch.context() as patch:
        patch.setattr("distributed.Client", None)  # one that fails at its address hangs, and writes a trace, at the end
        for nonsense in ("nonsense://x", "node1", "tcp://node1:port", "inproc://x", "/tmp"):
            with pytest.raises(BadInput, match=f"There is no scheduler at '{nonsense}'"):
                with connected(nonsense):
                    pass
