"""`retrainlab figures | lab | export | run | study | ...`: every command calls one function of the package.

What was asked for goes to stdout, and what is going on to stderr. A user's mistake ends with one sentence and exit code 2;
Ctrl-C with what is kept and 130. torch is loaded by the command that needs it, never for --help.
"""

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrainlab import __version__, filing, keeping, running
from retrainlab.checks import BadInput, Failed
from retrainlab.config import Recipe
from retrainlab.data.sources import BUILT_IN, download
from retrainlab.options import add_machine, machine

_GOES_ON = "the same command goes on from there"


def _open_closed() -> None:
    """Open streams that were closed (`2>&-`) on os.devnull, before a file that is opened takes their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does: keep what is finished and leave nothing behind."""
    main_thread = threading.current_thread() is threading.main_thread()  # no other may set a handler
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if main_thread and hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # not under nohup
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@_stopped_by_signals()
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot write is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _sentence
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except BadInput as error:
        print(f"retrainlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        words = str(stop) or f"Stopped; what was finished is kept, and {_GOES_ON}."
        if getattr(options, "fresh", False):
            words = words.replace(_GOES_ON, "the same command begins anew, since it has --fresh")
        print(f"\nretrainlab: {words}", file=sys.stderr)
        return 130
    except Failed as error:
        print(f"\nretrainlab: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"retrainlab: A library cannot be loaded ({error}).", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        if not isinstance(error, BrokenPipeError):  # `retrainlab study | head` needs no word
            print(f"retrainlab: The output could not be written ({error.strerror}); results are kept.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        return 1


_as_usual = warnings.formatwarning


def _sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of the kit's own without the line of code that gave it."""
    own = Path(filename).is_relative_to(Path(__file__).parent)
    return f"retrainlab: {message}\n" if own else _as_usual(message, category, filename, lineno, line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retrainlab",
        description="After pruning a neural network, how should it be retrained?",
        epilog="Results are kept in the store and never computed twice. 'retrainlab COMMAND --help' says more.",
    )
    parser.add_argument("--version", action="version", version=f"retrainlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, words: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=words, description=words, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(command=function)
        return sub

    precision = Recipe.__dataclass_fields__["precision"].metadata["help"]
    figures = command("figures", _figures, "regenerate the figures by running their notebooks")
    figures.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to make, such as fig03; all if none is named"
    )
    figures.add_argument("--preset", default="digits", help="smoke, digits, fashion-mnist or cifar10")
    figures.add_argument("--output", default="", help="folder to write to; figures/PRESET if empty")
    figures.add_argument("--precision", default="", help=f"{precision}; the preset's if empty")
    words = "train what is missing, also for preset cifar10, which is else drawn from what is stored alone"
    figures.add_argument("--compute", dest="stored_only", action="store_false", default=None, help=words)
    figures.add_argument("--dry-run", action="store_true", help="only say what would be made, why, and what it costs")
    add_machine(figures)
    claims = command(
        "claims", _claims, "say what the figures' runs say of the paper's claims, and write it beside them"
    )
    claims.add_argument("--preset", default="digits", help="whose figures; they are made by `figures` before")
    claims.add_argument("--figures", default="", help="the folder they are in; figures/PRESET if empty")
    claims.add_argument(
        "--beside", metavar="FOLDER", help="say and write, too, how far the claims of these figures lie from them"
    )
    command("words", _words, "write what the committed figures and results say into the pages that tell of them")
    lab = command("lab", _lab, "open JupyterLab on the notebook to start with, on this machine only, with a token")
    lab.add_argument("--port", type=int, default=8888, help="or the next that is free")
    lab.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    export = command("export", _export, "write explorers as HTML files for readers without a kernel")
    export.add_argument("names", nargs="*", metavar="NAME", help="pages to write, such as race; all if none is named")
    export.add_argument("--output", default="", help="folder to write to; pages if empty")
    add_machine(export, study=False)
    site = command("site", _site, "write all explorers, figures and words as pages for those who have only a browser")
    site.add_argument("--output", default="", help="folder to write to; site if empty")
    site.add_argument("--store", default="", help="folder of the results; the project's if empty")
    site.add_argument("--figures", default="", help="folder with a folder of figures for each preset; figures if empty")
    slides = command(
        "slides", _slides, "make slides for a reading group of the figures: HTML that opens offline, and a PDF"
    )
    slides.add_argument("--preset", default="digits", help="whose figures to show; they are made by `figures` before")
    slides.add_argument(
        "--precision", default="", help="in which they were made; the preset's if empty, another: in figures/own/PRESET"
    )
    slides.add_argument("--figures", default="", help="the folder they are in, whatever made them; of PRESET if empty")
    slides.add_argument("--output", default="", help="folder to write to; slides if empty")
    slides.add_argument("--no-pdf", action="store_true", help="the HTML alone; a PDF needs Chromium, Chrome or Edge")
    teach = command("teach", _teach, "write the sessions for participants, without solutions, and a sheet of formulas")
    teach.add_argument("--output", default="", help="folder to write to; teach/participants if empty")
    teach.add_argument("--no-pdf", action="store_true", help="the sheet as HTML alone; a PDF needs a browser, too")
    running.add(command)
    filing.add(command)
    stored = command("results", None, "list, export, import and check what is stored")
    actions = stored.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, function: Callable, words: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=words, description=words)
        sub.set_defaults(command=function)
        return sub

    keeping.add(action)
    data = command("data", _data, "download a data set through torchvision")
    data.add_argument("name", help=", ".join(name for name, known in BUILT_IN.items() if known.downloads))
    doctor = command("doctor", _doctor, "say what is here, and how to get what is missing")
    doctor.add_argument("--data", metavar="FOLDER", help="say too what a folder of images holds, and read all of them")
    doctor.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="read every stored file, not just a sample (the project's)",
    )
    return parser


def _figures(options: argparse.Namespace) -> None:
    from retrainlab.figures import run

    asked = {name: getattr(options, name) for name in ("precision", "output", "dry_run")}
    run.make(options.names, options.preset, machine(options), **asked)


def _claims(options: argparse.Namespace) -> None:
    from retrainlab.claims import beside, report
    from retrainlab.figures import presets

    settings = presets.asked(options.preset, options.figures)
    folder = presets.folder(settings)
    other = report.judged(settings, Path(options.beside)) if options.beside else None
    found = report.make(settings, folder)
    print("\n".join(report.lines(found)))
    files = [f"claims.{end}" for end in report.ENDS]
    if other is not None:
        print("\n".join(said := beside.sentences(found, other)))
        files.append(beside.write(said, folder, Path(options.beside), other).name)
    print(f"Written to {folder}: {', '.join(files)}.", file=sys.stderr)


def _words(options: argparse.Namespace) -> None:
    from retrainlab.figures import pages

    pages.make()


def _lab(options: argparse.Namespace) -> None:
    from retrainlab.lab import serve

    serve(options.port, browser=not options.no_browser)


def _export(options: argparse.Namespace) -> None:
    from retrainlab import export

    export.make(options.names, output=options.output, store=options.store, jobs=options.jobs, device=options.device)


def _site(options: argparse.Namespace) -> None:
    from retrainlab.site import make

    make.make(options.output, options.store, options.figures)


def _slides(options: argparse.Namespace) -> None:
    from retrainlab.figures import slides

    slides.make(options.output, options.preset, not options.no_pdf, options.figures, options.precision)


def _teach(options: argparse.Namespace) -> None:
    from retrainlab.teaching import sessions

    sessions.make(options.output, not options.no_pdf)


def _data(options: argparse.Namespace) -> None:
    print(f"{options.name} is in {download(options.name)}.")


def _doctor(options: argparse.Namespace) -> int:
    from retrainlab.doctor import examine, folder, table

    findings = examine(options.store) + ([folder(options.data)] if options.data else [])
    print(table(findings))
    return 0 if all(f.good or not f.required for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
