"""The one door through which files are written: whole, under a name of one's own, and held while they are added to."""

import os
import re
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrainlab.checks import BadInput
from retrainlab.paths import abandoned, locked, make_writable, probe, set_aside, write_new, write_whole

PACKAGE = Path(__file__).parent.parent / "retrainlab"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_decides_who_may_read_whatever_writes_the_file(tmp_path, umask, mode):
    def fill(path: Path) -> None:
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o700))

    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", fill)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_pipe_is_written_as_it_is(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        write_whole(pipe, lambda path: path.write_text("a"))
        assert read.result(10) == "a" and list(tmp_path.iterdir()) == [pipe]


def test_a_folder_is_tried_by_many_at_once_and_nothing_is_left(tmp_path):
    """Pitfall: a probe with a fixed name, which the first to finish takes from the others."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make_writable(tmp_path / "new"), range(200)))
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        make_writable(tmp_path / "file" / "new")
    with pytest.raises(OSError):
        probe(tmp_path / "file")


ADD = """
import sys
from pathlib import Path
from retrainlab.paths import locked, write_whole
path = Path(sys.argv[1])
for _ in range(30):
    with locked(path):
        count = int(path.read_text()) + 1
        write_whole(path, lambda temporary: temporary.write_text(str(count)))
"""


def test_processes_that_add_under_the_lock_lose_nothing_of_one_another(tmp_path):
    (tmp_path / "count").write_text("0")
    both = [subprocess.Popen([sys.executable, "-c", ADD, tmp_path / "count"]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "60"


def test_threads_wait_for_the_lock(tmp_path):
    entered = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "file"):
            waits = pool.submit(lambda: [locked(tmp_path / "file").__enter__(), entered.set()])
            assert not entered.wait(0.2)
        assert waits.result(10) and entered.is_set()


def test_what_is_set_aside_has_a_name_of_its_own(tmp_path):
    for text in ("a", "b"):
        (tmp_path / "x.json").write_text(text)
        with pytest.warns(UserWarning, match="Damaged: .*x.json .why.; set aside in .*, then this."):
            set_aside([tmp_path / "x.json", tmp_path / "absent"], tmp_path / "damaged", "why", "then this")
    assert sorted(p.read_text() for p in (tmp_path / "damaged").glob("x-*.json")) == ["a", "b"]


def test_everything_is_written_through_the_door():
    """A line that writes fills the temporary file that the door hands out; a printed page lies in a folder of its own."""
    writes = re.compile(r"(?<!stats)\.(write_text|write_bytes|touch|to_csv)\(|\bopen\([^)]*[\"'][wax]b?[\"']")
    for file in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").glob("*.py")]:
        if file.name not in ("paths.py", "tables.py"):
            for line in filter(writes.search, file.read_text().splitlines()):
                assert "lambda" in line or line.strip().startswith("page.write_text("), (file.name, line)


def test_what_a_killed_writer_left_goes_after_a_day_and_what_one_may_be_writing_stays(tmp_path):
    """Times are the file system's: those of a writer whose clock was set back or ahead are not asked."""
    now = time.time()
    ages = {"old": 90_000, "young": 80_000, "of today": 0, "from a clock ahead": -1e6}
    for place, age in enumerate(ages.values()):
        (tmp_path / f".x.json.{place:08x}.tmp").write_text("half")
        os.utime(tmp_path / f".x.json.{place:08x}.tmp", (now - age, now - age))
    others = [".x.json.lock", "x.json", ".tmp", ".x.json.0000000g.tmp", "x.json.00000000.tmp"]
    for name in others:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".a folder.00000000.tmp").mkdir()
    (tmp_path / ".a link.00000000.tmp").symlink_to(tmp_path / "x.json")
    os.utime(tmp_path / ".a link.00000000.tmp", (0, 0), follow_symlinks=False)
    assert abandoned(tmp_path, 86_400) == [tmp_path / ".x.json.00000000.tmp"]
    probe(tmp_path)
    stay = [*others, *(f".x.json.{place:08x}.tmp" for place in (1, 2, 3))]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [*stay, ".a folder.00000000.tmp", ".a link.00000000.tmp"]
    )


def test_a_file_that_is_being_written_is_no_left_over(tmp_path):
    """Whatever the clock of the process that looks says."""
    seen = []
    write_whole(tmp_path / "file", lambda path: seen.extend([path.write_text("a"), *abandoned(tmp_path, 60)]))
    assert seen == [1]


def test_a_small_file_is_created_by_one_alone_and_is_no_file_where_it_cannot_be_filled(tmp_path, monkeypatch):
    """Pitfall: on a full disk a file is created, and stays empty."""
    assert write_new(tmp_path / "a", "1") and not write_new(tmp_path / "a", "2")
    assert (tmp_path / "a").read_text() == "1"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            write_new(tmp_path / "b", "1")
    assert write_new(tmp_path / "b", "2")
