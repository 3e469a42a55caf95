"""`retrainlab lab`: JupyterLab on the notebook to start with, reachable from this machine alone, with a token."""

import os
import subprocess
import sys
from importlib.util import find_spec

from retrainlab.checks import BadInput, check_number
from retrainlab.paths import home, lend_places, project


def command(port: int, browser: bool) -> list[str]:
    """The command line; Jupyter makes a token for each start. Raises BadInput for a port outside 1024 to 65535, and without
    JupyterLab, a home directory or the project's folder."""
    check_number(port, "port", low=1024, high=65535, whole=True)
    if find_spec("jupyterlab") is None:
        raise BadInput("JupyterLab is not installed here; install the extra 'lab', as `make setup` does.")
    if home() is None:
        raise BadInput(
            "JupyterLab needs a home directory, and there is none; set HOME to a folder that can be written."
        )
    lend_places()
    root = project()
    quiet = [] if browser else ["--no-browser"]
    options = ["--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={root}", *quiet]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    return [sys.executable, "-m", "jupyter", "lab", str(root / "notebooks" / "start_here.ipynb"), *options]


def serve(port: int = 8888, browser: bool = True) -> None:
    """Run JupyterLab until it is stopped. On Unix this process becomes it, so that what ends one ends the other."""
    line = command(port, browser)
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(line[0], line)
    subprocess.run(line, check=False)
