"""`retrainlab pack | unpack | weights`: networks into files, and back."""

import argparse
from collections.abc import Callable

from retrainlab.checks import BadInput
from retrainlab.options import add_experiment, add_machine, experiments, machine, strays


def add(command: Callable[[str, Callable, str], argparse.ArgumentParser]) -> None:
    """Add the parsers of these commands; command: makes one from its name, its function and its help text."""
    pack = command("pack", _pack, "write a network to the smallest file that holds it bit for bit")
    pack.add_argument("file", metavar="FILE", help="the file to write")
    pack.add_argument(
        "--weights", help="pack the tensors of this file (.safetensors, .pt, .pth) instead of an experiment's network"
    )
    pack.add_argument("--half", action="store_true", help="round to bfloat16 first: smaller, but no longer bit for bit")
    add_experiment(pack, many=False, sitting=False)
    unpack = command("unpack", _unpack, "write the tensors of a file that `pack` has made, bit for bit")
    unpack.add_argument("file", metavar="FILE", help="the file that `pack` has made")
    unpack.add_argument("weights", metavar="WEIGHTS", help="the file to write: .safetensors, or torch's .pt or .pth")
    weights = command(
        "weights", _weights, "write the network of a stored result, or of a first training: a state_dict, or ONNX"
    )
    weights.add_argument("key", metavar="KEY", help="its name, as `results ls` says it; the first digits are enough")
    weights.add_argument("file", metavar="FILE", help="the file to write: .safetensors, torch's .pt or .pth, or .onnx")
    told = "code that the result was made with, package.module:name, which is imported only if you name it"
    weights.add_argument("--allow", nargs="+", default=(), metavar="REFERENCE", help=told)
    add_machine(weights, study=False)


def _pack(options: argparse.Namespace) -> None:
    if options.weights is None:
        [asked] = experiments(options)
    else:
        if stray := strays(options, many=False, also_machine=True):
            raise BadInput(f"Leave {', '.join(stray)} out: --weights packs a file as it is, and no experiment is made.")

    from retrainlab import packing

    if options.weights is None:
        print(packing.pack_experiment(asked, machine(options), options.file, options.half))
    else:
        print(packing.pack_weights(options.weights, options.file, options.half))


def _unpack(options: argparse.Namespace) -> None:
    from retrainlab import packing

    print(packing.unpack(options.file, options.weights))


def _weights(options: argparse.Namespace) -> None:
    from retrainlab import weights
    from retrainlab.study.machine import Machine

    on = Machine(jobs=options.jobs, device=options.device, store=options.store)
    print(weights.hand_out(options.key, on, options.file, options.allow))
