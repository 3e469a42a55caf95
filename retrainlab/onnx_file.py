"""A network as an ONNX file, which other programs run: written by torch, and checked against it before it is kept."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from retrainlab.checks import BadInput
from retrainlab.models import in_mode
from retrainlab.phrases import first_line, listed

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ROUNDING = 1e-4  # by how much scores may differ, as a share of the largest score


def needed() -> None:
    """Raise BadInput unless the packages are there that write and check ONNX."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise BadInput(
            f"ONNX needs the packages {listed(PACKAGES)}, of which {listed(missing)} cannot be found; pip install "
            "'retrainlab[onnx]', or write a .safetensors file."
        )


def content(model: nn.Module, inputs: Tensor) -> bytes:
    """The ONNX file of a network as it is in evaluation: from `input` [N, ...], for any N, to `scores` [N, classes].

    model: on the CPU. inputs: some that it takes, at least 2, on which ONNX Runtime must find the scores that torch finds.
    Raises BadInput for a network that torch cannot write, or whose file gives other scores.
    """
    needed()
    import onnxruntime

    with in_mode(model, training=False), torch.no_grad():
        wanted = model(inputs)
        try:
            with _quiet():
                program = torch.onnx.export(
                    model,
                    (inputs[:2],),
                    input_names=["input"],
                    output_names=["scores"],
                    dynamic_shapes=({0: torch.export.Dim("N")},),
                    dynamo=True,
                    verbose=False,
                )
                assert program is not None
                file = program.model_proto.SerializeToString()
                session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
                [found] = session.run(None, {"input": inputs.numpy()})
        except Exception as error:  # exporter, runtime and protobuf have many of their own
            cause = _cause(error)
            raise BadInput(
                f"torch cannot write this network as ONNX ({type(cause).__name__}: {first_line(cause)}); write a "
                ".safetensors file."
            ) from error
    differ, largest = (torch.from_numpy(found) - wanted).abs().max().item(), wanted.abs().max().item()
    if not differ <= ROUNDING * largest:
        raise BadInput(
            f"The ONNX file of this network gives other scores than torch: they differ by {differ:.3g}, where the largest "
            f"is {largest:.3g}; write a .safetensors file."
        )
    return file


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the pages that the exporter logs and prints about a network that it cannot write."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _cause(error: BaseException) -> BaseException:
    """The error that it all began with."""
    return error if error.__cause__ is None else _cause(error.__cause__)
