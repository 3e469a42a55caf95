"""What is said when something goes wrong while a study runs, as docs/reliability.md tells it."""

import re
from pathlib import Path

NOTHING = "nothing: the same call goes on"
FULL = (
    "The store STORE is full (No space left on device); make room and give the same command again, which goes on from what "
    "is kept, or choose another folder with --store or RETRAINLAB_STORE."
)
READ_ONLY = "The store STORE cannot be written (WHY); choose a folder that can, with --store or RETRAINLAB_STORE."
MEMORY = (
    "Failed: RUN (memory ran out; a smaller batch_size or width takes less); N of M runs are kept in STORE, and the same "
    "command tries the others again."
)
TWICE = (
    "Failed: RUN (its worker was killed by SIGKILL, twice; out of memory?); N of M runs are kept in STORE, and the same "
    "command tries the others again."
)
HOPELESS = (
    "Failed: RUN (its worker was killed by SIGKILL, twice; out of memory?); workers fail whatever they are given here, "
    "which no run is to blame for, so that the study ends; N of M runs are kept in STORE, and the same command tries the "
    "others again."
)
BROKEN = "The executor broke (WHY); N of M runs are kept in STORE; the same call goes on from there."
NO_NUMBER = (
    "Failed: RUN (its worker has brought NaN or infinity where numbers must be); workers fail whatever they are given here, "
    "which no run is to blame for, so that the study ends; N of M runs are kept in STORE, and the same command tries the "
    "others again."
)
SAID = {  # what happens, how often it is tried here, and what is said
    "the study is killed (SIGKILL) at a random moment": (50, NOTHING),
    "one of its workers is killed": (1, "nothing: what it was at is tried once more, alone"),
    "a run kills its worker twice": (2, TWICE),
    "every worker is killed": (1, HOPELESS),
    "two processes begin the same study at once": (1, "nothing: each makes what the other does not"),
    "three do, and one is killed": (1, "nothing: the others take over at once"),
    "one of two stands still for longer than the other waits": (1, "nothing: one result of each run is kept"),
    "the disk is full": (5, FULL),
    "the store is read-only": (1, READ_ONLY),
    "the clock is set back, again and again": (1, NOTHING),
    "memory runs out": (2, MEMORY),
    "a run diverges to NaN": (1, "nothing: it is a result that says so in its column `outcome`"),
    "a worker elsewhere brings NaN or infinity": (2, NO_NUMBER),
    "a process of an executor is killed": (2, BROKEN),
}


def says(what: str, said: str, store: Path) -> None:
    """It is the sentence that the page tells."""
    pattern = re.escape(SAID[what][1]).replace("RUN", ".+").replace("WHY", "[^;]+")
    pattern = pattern.replace(r"N\ of\ M", r"\d+ of \d+").replace("STORE", re.escape(str(store)), 1)
    assert re.fullmatch(pattern, said), said
