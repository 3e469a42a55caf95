"""Studies: a grid of experiments -> a tidy DataFrame; from the store what is there, and the rest on all cores.

    grids      every combination of seeds, sparsities, budgets and schedules
    settings   the same of whatever settings take several values, by the command line's names
    described  a study's file, TOML or YAML (documents, plain_yaml) -> its experiments
    changes    experiments that differ from their base in one ingredient of retraining
    stages     train, prune, retrain: what one experiment is made of
    courses    many of them, carried out together; checkpoints: what of them is unfinished, on disk
    results    the keeper of what is stored, and how one process makes what is missing
    run        carries a grid out: plan cuts what is missing into tasks (ledger), workers spreads these over processes
    away       tasks that other machines carry out; cluster: those of Dask
    sharing    several studies in one store: who makes what, by claims; failures: why a run was not made
    sitting    a study that must end within some minutes: when it stops, and what comes first
    speed      how fast this device trains what is missing, by a short measurement
    forecast   what a study costs, said before it is made
    lacking    what a study lacks that is to train nothing
    reading    what is stored, as tables
    store      the folder of results, and under it files of results (archive) that are only read
    index      what the files of many results say, in one file beside them, so that they need not all be read
    exports    results into such a file; imports: back into a store; inventory: what lies where
    collapse   a trained network's accuracy straight after pruning, kept with the network
    landscape  where retraining goes: what is measured of weights that no store keeps

What others call is importable from here; a worker, which needs little of it, loads no more than that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrainlab.study.grids import grid
    from retrainlab.study.reading import curves, layer_names, layers, masks, not_pruned, rows, sizes
    from retrainlab.study.results import Results
    from retrainlab.study.run import run_study

_HOME = {"Results": "results", "grid": "grids", "run_study": "run"} | dict.fromkeys(
    ("curves", "layer_names", "layers", "masks", "not_pruned", "rows", "sizes"), "reading"
)
__all__ = ["Results", "curves", "grid", "layer_names", "layers", "masks", "not_pruned", "rows", "run_study", "sizes"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'retrainlab.study' has no attribute '{name}'")
    return getattr(import_module(f"retrainlab.study.{_HOME[name]}"), name)
