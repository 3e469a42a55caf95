"""retrainlab: after pruning a neural network, how should it be retrained?

The nouns are importable from here; torch is loaded only when something that needs it is first used.

>>> from retrainlab import Recipe, Prune, Retrain, Experiment, run
>>> result = run(Experiment(Recipe(), Prune(0.95), Retrain("LLR", budget=0.05)))
>>> result.scalars["test_accuracy"]
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Recipe": "config",
    "Prune": "config",
    "Retrain": "config",
    "Experiment": "config",
    "BadInput": "checks",
    "Result": "study.result",
    "run": "study.stages",
    "own": "adopt.own",
    "Store": "study.store",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'retrainlab' has no attribute '{name}'")
    return getattr(import_module(f"retrainlab.{_HOME[name]}"), name)
