"""`retrainlab figures | run | study | data | doctor`: thin; every command calls the function of the same name.

A user's mistake ends with one sentence and exit code 2; Ctrl-C with what is kept and 130. torch is loaded by the command
that needs it, never for --help.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from retrainlab import __version__
from retrainlab.config import (
    ALLOCATIONS,
    DATASETS,
    DENSE_SCHEDULES,
    FREE_SCHEDULES,
    MODELS,
    NAMED_SCHEDULES,
    SCORES,
    STRUCTURES,
    Prune,
    Recipe,
    Retrain,
)
from retrainlab.errors import BadInput

COLUMNS = {  # what `run` and `study` show: column -> (heading, factor to the unit in the heading)
    "sparsity_achieved": ("sparsity %", 100),
    "budget": ("budget %", 100),
    "schedule": ("schedule", None),
    "mean": ("test acc. %", 100),
    "low": ("95 % from", 100),
    "high": ("to", 100),
    "n": ("seeds", None),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except BadInput as error:
        print(f"retrainlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        words = str(stop) or "Stopped; what was finished is kept, and the same command goes on from there."
        print(f"\nretrainlab: {words}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `retrainlab study | head`
        sys.stderr.close()
        return 1


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
    _machine(figures)
    run = command("run", _study, "run one experiment: train, prune, retrain")
    _experiment(run, many=False)
    study = command("study", _study, "run a grid of experiments and print its table")
    _experiment(study, many=True)
    study.add_argument("--csv", metavar="FILE", help="write every row, with all that was measured, to this file")
    data = command("data", _data, "download a data set through torchvision")
    data.add_argument("name", help="fashion-mnist, cifar10 or cifar100")
    command("doctor", _doctor, "say what is here, and how to get what is missing")
    return parser


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=0, help="processes on a CPU; 0 is one per core")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--store", default="", help="folder of results; RETRAINLAB_STORE or the project's store if empty"
    )
    parser.add_argument("--fresh", action="store_true", help="compute anew what is stored already")


def _experiment(parser: argparse.ArgumentParser, many: bool) -> None:
    recipe, prune, retrain = Recipe(), Prune(), Retrain()
    names = ", ".join
    dense = parser.add_argument_group("dense run")
    dense.add_argument("--data", default=recipe.data, help=f"{names(DATASETS)}, or a folder of images")
    dense.add_argument("--image-size", type=int, help="pixels, for a folder of images (224 if left out)")
    dense.add_argument("--model", default=recipe.model, help=f"{names(MODELS)}, or torchvision/NAME")
    dense.add_argument("--width", type=int, help="channels of the first stage; the published ones if left out")
    dense.add_argument("--epochs", type=int, default=recipe.epochs, help="length of the dense run")
    dense.add_argument("--batch-size", type=int, default=recipe.batch_size, help="images in a step")
    dense.add_argument("--dense-schedule", default=recipe.schedule, help=names(DENSE_SCHEDULES))
    dense.add_argument("--dense-lr", type=float, default=recipe.lr, help="its peak learning rate")
    dense.add_argument(
        "--weight-decay", type=float, default=recipe.sgd.weight_decay, help="of SGD, dense and retraining"
    )

    def axis(group, flag: str, kind: type, default, words: str) -> None:
        plural = {"nargs": "+", "default": [default]} if many else {"default": default}
        group.add_argument(flag, type=kind, help=words, **plural)

    axis(dense, "--seed", int, 0, "random seeds" if many else "random seed")
    cut = parser.add_argument_group("pruning")
    axis(cut, "--sparsity", float, prune.sparsity, "share of the prunable weights that goes")
    cut.add_argument("--score", default=prune.score, help=names(SCORES))
    cut.add_argument("--allocation", default=prune.allocation, help=names(ALLOCATIONS))
    cut.add_argument("--structure", default=prune.structure, help=names(STRUCTURES))
    cut.add_argument("--cycles", type=int, default=prune.cycles, help="1 is one-shot; more is iterative pruning")
    cut.add_argument("--keep-first", action="store_true", help="leave the first layer dense")
    cut.add_argument("--keep-last", action="store_true", help="leave the last layer dense")
    cut.add_argument("--n", type=int, default=prune.n, help="weights kept of each m, for structure n:m")
    cut.add_argument("--m", type=int, default=prune.m, help="neighbours of which n are kept, for structure n:m")
    again = parser.add_argument_group("retraining")
    axis(again, "--budget", float, retrain.budget, "length of a cycle's retraining, as a share of the dense run")
    free = [s for s in FREE_SCHEDULES if s != "custom"]
    axis(again, "--schedule", str, retrain.schedule, f"{names(NAMED_SCHEDULES)}; with --lr also {names(free)}")
    again.add_argument("--lr", type=float, help="initial learning rate of a free schedule")
    _machine(parser.add_argument_group("machine"))


def _figures(options: argparse.Namespace) -> None:
    from retrainlab import figures

    figures.make(
        options.names,
        preset=options.preset,
        jobs=options.jobs,
        device=options.device,
        fresh=options.fresh,
        store=options.store,
        output=options.output,
    )


def _study(options: argparse.Namespace) -> None:
    def listed(value) -> list:
        return value if isinstance(value, list) else [value]

    recipe = Recipe(
        data=options.data,
        image_size=options.image_size,
        model=options.model,
        width=options.width,
        epochs=options.epochs,
        batch_size=options.batch_size,
        schedule=options.dense_schedule,
        lr=options.dense_lr,
    )
    recipe = replace(recipe, sgd=replace(recipe.sgd, weight_decay=options.weight_decay))
    prune = Prune(
        listed(options.sparsity)[0], **{f.name: getattr(options, f.name) for f in fields(Prune) if f.name != "sparsity"}
    )
    names = listed(options.schedule)
    free = [s for s in names if s in FREE_SCHEDULES]  # without one, a stray --lr is for Retrain to refuse
    plans = [Retrain(s, lr=options.lr if s in free or not free else None) for s in names]

    table = Path(options.csv).absolute() if getattr(options, "csv", None) else None
    if table is not None and (table.is_dir() or not os.access(table.parent, os.W_OK)):
        raise BadInput(f"The table cannot be written to {table}; name a file in a folder that exists and is yours.")

    from retrainlab.progress import CalmLines, Progress
    from retrainlab.study import grid, run_study

    experiments = grid(
        recipe,
        sparsities=listed(options.sparsity),
        budgets=listed(options.budget),
        schedules=plans,
        seeds=listed(options.seed),
        prune=prune,
    )
    from retrainlab.device import describe, resolve

    print(f"{len(experiments)} experiments on {describe(resolve(options.device))}.")
    frame = run_study(
        experiments,
        store=options.store or None,
        jobs=options.jobs,
        device=options.device,
        fresh=options.fresh,
        progress=Progress("study", CalmLines(sys.stdout)),
    )
    if table is not None:
        frame.to_csv(table, index=False)
    print(_table(frame) if len(frame) > 1 else frame.iloc[0].to_string())


def _table(frame) -> str:
    """Mean test accuracy over seeds with its interval, a line for each sparsity, budget and schedule."""
    from retrainlab.stats import summary

    frame = frame.assign(sparsity_achieved=frame["sparsity_achieved"].round(6))
    short = summary(frame, ["sparsity", "budget", "schedule"], "test_accuracy")
    groups = frame.groupby(["sparsity", "budget", "schedule"], sort=False)
    short["sparsity_achieved"] = groups["sparsity_achieved"].mean().values
    shown = {heading: short[name] * factor if factor else short[name] for name, (heading, factor) in COLUMNS.items()}
    if frame["seed"].nunique() == 1:
        del shown["95 % from"], shown["to"]
    head = f"dense: {100 * frame.groupby('seed')['dense_test_accuracy'].first().mean():.2f} % test accuracy"
    return head + "\n" + type(frame)(shown).to_string(index=False, float_format=lambda x: f"{x:.2f}")


def _data(options: argparse.Namespace) -> None:
    from retrainlab.sources import download

    print(f"{options.name} is in {download(options.name)}.")


def _doctor(_: argparse.Namespace) -> int:
    from retrainlab.doctor import examine, table

    findings = examine()
    print(table(findings))
    return 0 if all(f.good or not f.required for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
