"""Execute a notebook through papermill, and say in a sentence why it ended where it did."""

import logging
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput, Failed
from retrainlab.paths import lend_places, write_whole
from retrainlab.progress import CalmLines, duration

if TYPE_CHECKING:
    from nbformat import NotebookNode


def papermill():
    """The package; raises BadInput where it is not installed."""
    try:
        import papermill
    except ImportError as error:
        raise BadInput(
            f"Notebooks need the notebook stack, which cannot be loaded ({error}): pip install 'retrainlab[lab]'."
        ) from None
    return papermill


def parameters(path: Path) -> set[str]:
    """Names of a notebook's parameters. Raises BadInput for a file that is no notebook."""
    from nbformat.reader import NotJSONError

    try:
        return set(papermill().inspect_notebook(str(path)))
    except (NotJSONError, OSError, ValueError, AttributeError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise BadInput(f"The notebook {path} cannot be read ({reason}); restore it from git.") from None


def execute(path: Path, given: dict, keep: Path, timeout: float, live: bool = False) -> "NotebookNode":
    """The executed notebook. given: its parameters; timeout: seconds that a cell may take; live: print what it prints.

    Raises BadInput if the notebook does, KeyboardInterrupt on Ctrl-C, and Failed with a sentence for all else; what was
    executed then lies in `keep`, which is removed otherwise.
    """
    papermill()
    lend_places()
    with tempfile.TemporaryDirectory(prefix="retrainlab-") as folder:
        executed = Path(folder) / path.name
        try:
            notebook = _execute(path, executed, given, timeout, live)
        except Failed as failed:
            raise Failed(f"{failed} {_kept(executed, keep)}") from None
    with suppress(OSError):
        keep.unlink()
        keep.parent.rmdir()
    return notebook


def _execute(path: Path, executed: Path, given: dict, timeout: float, live: bool) -> "NotebookNode":
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # a kernel that is stopped may find its sockets closed, and would print a trace
    silent = {"NotebookClient": {"extra_arguments": ["--log-level=CRITICAL"]}}
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it logs of a kernel that died is said below
    try:
        return papermill().execute_notebook(
            str(path),
            str(executed),
            parameters=given,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout if live else None,
            stderr_file=CalmLines(sys.stderr) if live else None,
            execution_timeout=timeout,
            start_timeout=120,  # seconds
            config=Config(silent | {"KernelManager": {"transport_encryption": "auto"}}),
        )
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would print the interrupted cell's trace at exit
        raise
    except PapermillExecutionError as error:
        if error.ename in ("Stopped", "KeyboardInterrupt"):
            raise KeyboardInterrupt(error.evalue) from None
        if error.ename in ("BadInput", "NotStored"):
            raise BadInput(error.evalue) from None
        told = error.ename in ("WorkerDied", "Failed")
        raise Failed(error.evalue if told else _sentence(error.ename, error.evalue)) from None
    except DeadKernelError:
        raise Failed("Its kernel died (out of memory?); what was finished is kept.") from None
    except CellTimeoutError:
        raise Failed(f"A cell ran for more than {duration(timeout)}; the same command goes on from there.") from None
    except Exception as error:  # such as a kernel that does not start
        raise Failed(_sentence(type(error).__name__, str(error))) from None


def _sentence(name: str, words: str) -> str:
    first = words.strip().partition("\n")[0].rstrip(".")
    return f"{name}: {first}." if first else f"{name}."


def _kept(executed: Path, keep: Path) -> str:
    if not executed.exists():
        return "Nothing was executed."
    try:
        write_whole(keep, lambda temporary: shutil.copyfile(executed, temporary))
    except OSError as error:
        return f"What was executed cannot be kept in {keep} ({error.strerror})."
    return f"What was executed is in {keep}."
