"""Files of this project as git has them: a user's command may have rewritten those on disk."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked(path: str) -> str | None:
    """The text of a file in git's index; None if there is no git, or no such file in it."""
    done = subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else None
