"""`retrainlab figures | lab | export | run | study | ...`: thin; every command calls the function of the same name.

What was asked for goes to stdout, and what is going on to stderr. A user's mistake ends with one sentence and exit code 2;
Ctrl-C with what is kept and 130. torch is loaded by the command that needs it, never for --help.
"""

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import get_args

from retrainlab import __version__, tables
from retrainlab.checks import BadInput, Failed, choose
from retrainlab.config import (
    ALLOCATIONS,
    DATASETS,
    DENSE_SCHEDULES,
    FREE_SCHEDULES,
    MODELS,
    NAMED_SCHEDULES,
    SCORES,
    SGD,
    STRUCTURES,
    Prune,
    Recipe,
    Retrain,
)
from retrainlab.methods.knobs import KNOBS, Knobs

COLUMNS = {  # of the table that `run` and `study` print: column -> (heading, factor to the unit in the heading)
    "sparsity_achieved": ("sparsity %", 100),
    "budget": ("budget %", 100),
    "schedule": ("schedule", None),
    "mean": ("test acc. %", 100),
    "low": ("95 % from", 100),
    "high": ("to", 100),
    "n": ("seeds", None),
}
DENSE_NAMES = {"schedule": "dense_schedule", "lr": "dense_lr", "warmup": "dense_warmup"}  # retraining has these too
HELP = {  # an option for each of these fields of Recipe, SGD, Prune and Retrain, by the option's name
    "data": f"{', '.join(DATASETS)}, or a folder of images, such as ./images",
    "model": f"{', '.join(MODELS)}, or torchvision/NAME",
    "width": "channels of the first stage (mlp: hidden units, wrn28-10: the factor 10); the published ones if left out",
    "epochs": "length of the dense run",
    "batch_size": "images in a step",
    "dense_schedule": ", ".join(DENSE_SCHEDULES),
    "dense_lr": "its peak learning rate",
    "dense_warmup": "share of it in which the learning rate rises",
    "milestones": "where multistep multiplies by gamma, as shares of the dense run",
    "gamma": "factor of step and multistep",
    "augment": "random crops (and flips, where the data allow them) in training",
    "all_train": "train on the validation images too; then choose nothing on them",
    "image_size": "pixels of the images of a folder",
    "seed": "random seed; study takes several",
    "precision": "float32, or bfloat16 for forward and backward passes",
    "momentum": "of SGD",
    "nesterov": "Nesterov's momentum",
    "weight_decay": "of SGD, in the dense run and in retraining",
    "decay_norm": "decay biases and normalisation layers too",
    "sparsity": "share of the prunable weights that goes (of the filters, for structure filters); study takes several",
    "score": ", ".join(SCORES),
    "allocation": ", ".join(ALLOCATIONS),
    "structure": ", ".join(STRUCTURES),
    "cycles": "1 is one-shot; more is iterative pruning",
    "keep_first": "leave the first layer dense",
    "keep_last": "leave the last layer dense",
    "n": "weights kept of each m, for structure n:m",
    "m": "neighbours of which n are kept, along a layer's inputs, for structure n:m",
    "schedule": f"{', '.join(NAMED_SCHEDULES)}, or with --lr {', '.join(s for s in FREE_SCHEDULES if s != 'custom')}; "
    "study takes several",
    "budget": "length of a cycle's retraining, as a share of the dense run; 0 is none; study takes several",
    "lr": "initial learning rate of a free schedule",
    "warmup": "share of the retraining in which the learning rate rises",
    "ramp": "linear or cosine warm-up of the retraining",
    "optimizer": "fresh in every cycle; cycles: one for all of them; keep: the dense run's momentum, too",
    "allr_norm": "ALLR's norm over the prunable weights or all parameters: prunable, all",
    "allr_cycles": "ALLR's factor in every cycle or the last one only: every, last",
    "clamp": "let LRW retrain for longer than the dense run",
    "recalibrate": "refresh BatchNorm's statistics after the last step",
    "split": "the budget is for all cycles together, as in BIMP",
    "freeze": "retrain biases and normalisation only (PERP)",
    "copies": "retrain so many copies with one mask and average them (sparse model soups)",
}
KNOB_HELP = {  # an option for each setting of the methods that sparsify during training
    "interval": "iterations between updates of the mask",
    "end": "share of the run at which its sparsity is reached, or updates end",
    "order": "how it shares its sparsity out among layers: global, uniform, erk, lamp",
    "s0": "where gates start; lower is sparser",
    "penalty": "on open gates",
    "final_beta": "how hard gates are at last",
    "t0": "where thresholds start, before the sigmoid",
    "decay": "of the thresholds; higher is sparser",
    "alpha": "penalty on low thresholds; higher is sparser",
    "mu0": "first weight of the distance to the sparse network",
    "growth": "factor of that weight after each C step",
    "start": "share of the run before the first C step",
    "epochs_per_step": "epochs of an L step",
    "drop": "share of a layer's weights that moves at first",
}


def _open_closed() -> None:
    """Give streams that were closed (`2>&-`) to nowhere, before a file that is opened takes their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """What ends the command from outside is as Ctrl-C, which keeps what is finished and leaves nothing behind."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # not under nohup
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    _open_closed()
    with _stopped_by_signals():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
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
        words = str(stop) or "Stopped; what was finished is kept, and the same command goes on from there."
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


def _sentence(message: Warning | str, category: type[Warning], filename: str, *place) -> str:
    """A warning of the kit's own without the line of code that gave it."""
    own = Path(filename).is_relative_to(Path(__file__).parent)
    return f"retrainlab: {message}\n" if own else _as_usual(message, category, filename, *place)


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

    figures = command("figures", _figures, "regenerate the figures by running their notebooks")
    figures.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to make, such as fig03; all if none is named"
    )
    figures.add_argument("--preset", default="digits", help="smoke, digits, fashion-mnist or cifar10")
    figures.add_argument("--output", default="", help="folder to write to; figures/PRESET if empty")
    figures.add_argument("--precision", default="float32", help=HELP["precision"])
    _machine(figures)
    lab = command("lab", _lab, "open JupyterLab on the notebook to start with, on this machine only, with a token")
    lab.add_argument("--port", type=int, default=8888, help="or the next that is free")
    lab.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    export = command("export", _export, "write explorers as HTML files for readers without a kernel")
    export.add_argument("names", nargs="*", metavar="NAME", help="pages to write, such as race; all if none is named")
    export.add_argument("--output", default="", help="folder to write to; pages if empty")
    _compute(export)
    slides = command(
        "slides", _slides, "make slides for a reading group of the figures: HTML that opens offline, and a PDF"
    )
    slides.add_argument("--preset", default="digits", help="whose figures to show; they are made by `figures` before")
    slides.add_argument("--figures", default="", help="the folder they are in; figures/PRESET if empty")
    slides.add_argument("--output", default="", help="folder to write to; slides if empty")
    slides.add_argument("--no-pdf", action="store_true", help="the HTML alone; a PDF needs Chromium, Chrome or Edge")
    run = command("run", _study, "run one experiment: train, prune, retrain")
    _experiment(run, many=False)
    study = command("study", _study, "run a grid of experiments and print its table")
    _experiment(study, many=True)
    study.add_argument(
        "--csv",
        metavar="FILE",
        help="write every row, with all that was measured, to this file; - is stdout, in place of the table",
    )
    data = command("data", _data, "download a data set through torchvision")
    data.add_argument("name", help="fashion-mnist, cifar10 or cifar100")
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


def _compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=0, help="processes on a CPU; 0 is one per core")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--store", default="", help="folder of results; RETRAINLAB_STORE or the project's store if empty"
    )


def _machine(parser: argparse.ArgumentParser) -> None:
    _compute(parser)
    parser.add_argument(
        "--engine",
        default="auto",
        help="loop: one training after the other; batched: many at once; graph: many at once as a CUDA graph; auto: the "
        "fastest, by a short measurement that is remembered",
    )
    parser.add_argument("--fresh", action="store_true", help="compute anew what is stored already")


def _experiment(parser: argparse.ArgumentParser, many: bool) -> None:
    """An option for each field of the nouns; with `many`, seeds, sparsities, budgets and schedules are lists."""
    dense = parser.add_argument_group("dense run")
    _options(dense, Recipe(), DENSE_NAMES, {"seed"} if many else set())
    _options(dense, SGD(), {}, set())
    _method(parser.add_argument_group("method that sparsifies during training"))
    _options(parser.add_argument_group("pruning"), Prune(), {}, {"sparsity"} if many else set())
    lists = {"schedule", "budget"} if many else set()
    _options(parser.add_argument_group("retraining"), Retrain(), {}, lists)
    _machine(parser.add_argument_group("machine"))


def _method(group) -> None:
    group.add_argument(
        "--method",
        help=f"{', '.join(KNOBS)}; dense training if left out. Its sparsity is --sparsity; "
        "CS, STR and DST reach theirs only through --s0, --decay and --alpha (search.reach in Python finds them)",
    )
    for name, words in KNOB_HELP.items():
        owners = [k for k in KNOBS.values() if _setting(name) in {f.name for f in fields(k)}]
        kind = next(f.type for f in fields(owners[0]) if f.name == _setting(name))
        whose = ", ".join(f"{k.__name__} {getattr(k(), _setting(name))}" for k in owners)
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{words} (default: {whose})")


def _setting(option: str) -> str:
    return "allocation" if option == "order" else option  # pruning has an --allocation of its own


def _knobs(options: argparse.Namespace) -> Knobs | None:
    """The method that the options describe."""
    given = {n: v for n in KNOB_HELP if (v := getattr(options, n)) is not None}
    kind = KNOBS[choose(options.method, KNOBS, "method")] if options.method else None
    known = {f.name for f in fields(kind)} if kind else set()
    stray = [f"--{n.replace('_', '-')}" for n in given if _setting(n) not in known]
    if stray:
        whose = f"{options.method} has no" if kind else "dense training, without --method, has no"
        raise BadInput(f"Leave {', '.join(stray)} out: {whose} such setting.")
    return kind(**{_setting(n): v for n, v in given.items()}) if kind else None


def _options(group, noun: object, names: dict[str, str], lists: set[str]) -> None:
    for f in fields(noun):
        default, name = getattr(noun, f.name), names.get(f.name, f.name)
        if name not in HELP:  # the optimiser has options of its own; control points are for Python
            continue
        kinds = [f.type, *get_args(f.type)]
        how = {"type": next(k for k in (float, int, str) if k in kinds)} if bool not in kinds else {}
        if bool in kinds:
            how = {"action": argparse.BooleanOptionalAction}
        elif f.name in lists:
            how |= {"nargs": "+"}
            default = [default]
        elif isinstance(default, tuple):
            how |= {"nargs": "+"}
        group.add_argument(f"--{name.replace('_', '-')}", default=default, help=HELP[name], **how)


def _noun(kind: type, options: argparse.Namespace, names: dict[str, str], **more: object):
    """The noun that the options describe."""
    known = {f.name: names.get(f.name, f.name) for f in fields(kind)}
    return kind(**{field: getattr(options, name) for field, name in known.items() if name in HELP} | more)


def _figures(options: argparse.Namespace) -> None:
    from retrainlab.figures import run
    from retrainlab.study.machine import Machine

    machine = Machine(options.jobs, options.device, options.engine, options.store, options.fresh)
    run.make(options.names, options.preset, machine, precision=options.precision, output=options.output)


def _lab(options: argparse.Namespace) -> None:
    from retrainlab.lab import serve

    serve(options.port, browser=not options.no_browser)


def _export(options: argparse.Namespace) -> None:
    from retrainlab import export

    export.make(options.names, output=options.output, store=options.store, jobs=options.jobs, device=options.device)


def _slides(options: argparse.Namespace) -> None:
    from retrainlab.figures import slides

    slides.make(options.output, options.preset, pdf=not options.no_pdf, figures=options.figures)


def _study(options: argparse.Namespace) -> None:
    axes = {name: getattr(options, name) for name in ("seed", "sparsity", "budget", "schedule")}
    axes = {name: values if isinstance(values, list) else [values] for name, values in axes.items()}
    sgd = _noun(SGD, options, {})
    recipe = _noun(Recipe, options, DENSE_NAMES, sgd=sgd, seed=axes["seed"][0], method=_knobs(options))
    prune = _noun(Prune, options, {}, sparsity=axes["sparsity"][0])
    if "custom" in axes["schedule"]:
        raise BadInput(
            "A drawn schedule needs control points, which Python takes: Retrain('custom', points=[(0, 0.1), (1, 0)])."
        )
    free = [s for s in axes["schedule"] if s in FREE_SCHEDULES]  # without one, a stray --lr is for Retrain to refuse
    plans = [
        _noun(
            Retrain, options, {}, schedule=s, budget=axes["budget"][0], lr=options.lr if s in free or not free else None
        )
        for s in axes["schedule"]
    ]
    csv = getattr(options, "csv", None)
    table = Path(csv) if csv and csv != "-" else None
    if table is not None and _new(table):
        table = table.resolve()  # a link stays one; a pipe by name has no other
    if table is not None and (table.is_dir() or not os.access(table.parent if _new(table) else table, os.W_OK)):
        raise BadInput(f"The table cannot be written to {table}; name a file in a folder that exists and is yours.")

    from retrainlab.study.grids import grid
    from retrainlab.study.run import run_study

    frame = run_study(
        grid(
            recipe,
            sparsities=axes["sparsity"],
            budgets=axes["budget"],
            schedules=plans,
            seeds=axes["seed"],
            prune=prune,
        ),
        store=options.store or None,
        jobs=options.jobs,
        device=options.device,
        engine=options.engine,
        fresh=options.fresh,
    )
    if table is not None:
        try:
            tables.write(frame, table)
        except OSError as error:
            raise BadInput(f"The table cannot be written to {table} ({error.strerror}); name another file.") from None
    if csv == "-":
        print(tables.csv(frame), end="")
    else:
        _tell(frame)


def _new(table: Path) -> bool:
    """Whether a file of its own takes the name; a pipe or a device is written as it is."""
    return table.is_file() or not table.exists()


def _tell(frame) -> None:
    print(_table(frame))
    for words in _left_out(frame):
        print(words)
    for words in filter(None, frame["not_pruned"].unique()):
        print(f"\n{words}")
    short = frame[frame["method"].isin(["CS", "STR", "DST"]) & (frame["trained_sparsity"] < frame["sparsity"] - 0.01)]
    for method in short["method"].unique():
        print(
            f"\n{method} alone did not reach the sparsity: one hard prune did the rest. Turn its knob for a fair result."
        )
    if len(frame) == 1:
        print("\nAll that was asked and measured (accuracies, sparsity and budget as shares):\n")
        print(frame.iloc[0].drop("not_pruned").to_string())


def _table(frame) -> str:
    """Mean test accuracy over seeds with its interval, a line for each sparsity, budget and schedule."""
    from retrainlab.stats import summary

    own = frame[["sparsity_achieved", "trained_sparsity"]].where(frame["outcome"] == "").round(6)
    frame = frame.assign(**own)
    short = summary(frame, ["sparsity", "budget", "schedule"], "test_accuracy")
    short[["low", "high"]] = short[["low", "high"]].where(short["n"] > 0)
    groups = frame.groupby(["sparsity", "budget", "schedule"], sort=False)
    short["sparsity_achieved"] = groups["sparsity_achieved"].mean().values
    shown = {heading: short[name] * factor if factor else short[name] for name, (heading, factor) in COLUMNS.items()}
    if (frame["method"] != "dense").any():
        shown["before the prune %"] = 100 * groups["trained_sparsity"].mean().values
    if frame["measured_speedup"].notna().any():
        shown["speed-up in theory"] = groups["shrunken_speedup"].mean().values
        shown["measured"] = groups["measured_speedup"].median().values
    if frame["seed"].nunique() == 1:
        del shown["95 % from"], shown["to"]
    dense = 100 * frame.groupby("seed")["dense_test_accuracy"].first().mean()  # of the seeds that have one
    head = f"dense: {dense:.2f} % test accuracy" if dense == dense else "dense: diverged"
    return head + "\n" + type(frame)(shown).to_string(index=False, float_format=lambda x: f"{x:.2f}", na_rep="-")


def _left_out(frame) -> list[str]:
    """Which runs have diverged, so that they are in no number of the table: a line for each setting and outcome."""
    lost = frame[frame["outcome"] != ""]
    if lost.empty:
        return []
    lines = [f"\nLeft out of these numbers: {len(lost)} of {len(frame)} runs. Try a smaller learning rate."]
    for (sparsity, budget, schedule, outcome), part in lost.groupby(
        ["sparsity", "budget", "schedule", "outcome"], sort=False
    ):
        seeds = ", ".join(map(str, part["seed"]))
        lines.append(f"  {100 * sparsity:g} % sparsity, budget {100 * budget:g} %, {schedule}, seed {seeds}: {outcome}")
    return lines


def _data(options: argparse.Namespace) -> None:
    from retrainlab.data.sources import download

    print(f"{options.name} is in {download(options.name)}.")


def _doctor(options: argparse.Namespace) -> int:
    from retrainlab.doctor import examine, folder, table

    findings = examine(options.store) + ([folder(options.data)] if options.data else [])
    print(table(findings))
    return 0 if all(f.good or not f.required for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
