"""Names of what is stored: a hash of the nouns that it was made from and of the data set's fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from retrainlab.checks import is_reference
from retrainlab.config import Experiment, Prune, Recipe, Retrain

SCHEMA = 1  # part of every hash: raise it when the meaning of every stored result changes
NAMED = {  # the fields that keys name at any value, as they did when results were first stored; this list is closed
    "SGD": "momentum nesterov weight_decay decay_norm",
    "Recipe": "data model width epochs batch_size schedule lr warmup milestones gamma sgd augment all_train image_size seed"
    " method",
    "Prune": "sparsity score allocation structure cycles keep_first keep_last n m",
    "Retrain": "schedule budget lr warmup ramp points optimizer allr_norm allr_cycles clamp recalibrate split freeze copies"
    " sgd",
    "Experiment": "recipe prune retrain evaluations",
    "GMP": "sparsity interval end allocation",
    "GSM": "sparsity",
    "DPF": "sparsity interval end allocation",
    "DNW": "sparsity",
    "CS": "s0 penalty final_beta",
    "STR": "t0 decay",
    "DST": "alpha",
    "LC": "sparsity mu0 growth start epochs_per_step",
    "Static": "sparsity allocation",
    "RigL": "sparsity interval end drop",
}


def to_dict(noun: Recipe | Prune | Retrain | Experiment) -> dict:
    """The noun's fields as JSON knows them: dictionaries, lists, numbers, strings."""
    return json.loads(json.dumps(asdict(noun)))


def _own(noun: Any) -> dict[str, Any]:
    """What `key` hashes of a noun: its fields in NAMED, and of all others those that differ from their defaults, so that a
    field that is added changes no key. Whoever changes a default, or what settings mean, raises the noun's `revision` (a
    class attribute or a property, 0 if it has none), so that no earlier result is found for it."""
    named, others = _fields(noun.__class__)
    own = {name: getattr(noun, name) for name in named}
    for name, default in others:
        if (value := getattr(noun, name)) != default:
            own[name] = value
    if revision := getattr(noun, "revision", 0):
        own["revision"] = revision
    return own


@cache
def _fields(kind: type) -> tuple[list[str], list[tuple[str, object]]]:
    """The fields of such a noun that are in NAMED, and the others with their defaults."""
    named = NAMED.get(kind.__name__, "").split()
    every = fields(kind)
    return [f.name for f in every if f.name in named], [(f.name, _default(f)) for f in every if f.name not in named]


def _text(value: Any) -> str:
    """Canonical JSON of a value, and of a noun that of its `_own`."""
    if type(value) is int:
        return str(value)
    if isinstance(value, (Recipe, Prune, Retrain)):
        return _kept(value)
    return _written(value) if is_dataclass(value) else _json(value)


def _written(noun: Any) -> str:
    own = _own(noun)
    if isinstance(noun, Recipe):
        del own["data"]  # the fingerprint says more, wherever a folder lies
    return "{" + ",".join([f'"{name}":{_text(own[name])}' for name in sorted(own)]) + "}"


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_kept = lru_cache(maxsize=4096)(_written)  # the experiments of a study share them


def _default(of: Field) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()


def references(noun: Any) -> dict[str, str]:
    """The references to a user's code in a noun, or in several, by what they stand for: model, data, dense schedule, score,
    schedule."""
    if isinstance(noun, Experiment):
        noun = noun.recipe, noun.prune, noun.retrain
    found = {}
    for one in noun if isinstance(noun, tuple) else (noun,):
        for what, field in _referring(one.__class__):
            if is_reference(name := getattr(one, field)):
                found[what] = name
    return found


@cache
def _referring(kind: type) -> list[tuple[str, str]]:
    """Of each field of a noun of this type that may be a reference: what it stands for, and the field's name."""
    own = [f.name for f in fields(kind) if f.name in ("model", "data", "score", "schedule")]
    return [("dense schedule" if name == "schedule" and issubclass(kind, Recipe) else name, name) for name in own]


def key(
    kind: str,
    nouns: Sequence[Recipe | Prune | Retrain | Experiment],
    fingerprint: str,
    code: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The content hash that names a stored thing of this kind: 16 hex digits of SHA-256 over canonical JSON.

    fingerprint: of the data set, so that other images under the same name give another key. code: fingerprints of what
    `references` names, but for the data.
    """
    known = f'"code":{_json(dict(code))},' if code else ""
    written = ",".join(map(_text, nouns))
    text = f'{{{known}"data":{_json(fingerprint)},"kind":{_json(kind)},"nouns":[{written}],"schema":{SCHEMA}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]
