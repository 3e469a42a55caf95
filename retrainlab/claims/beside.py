"""How far two tables of claims lie apart, such as of figures that two machines have made of the same settings.

Trainings of one seed go apart on processors that round differently; how much of what is said comes and goes with that is
seen by making the figures twice.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from retrainlab.claims.rule import Judged
from retrainlab.claims.table import Verdict, figures
from retrainlab.figures.provenance import described, digest, texts
from retrainlab.paths import write_text
from retrainlab.phrases import listed

NAME = "claims.beside.json"


def pairs(found: Sequence[Verdict], other: Sequence[Verdict]) -> list[tuple[str, Judged, Judged]]:
    """Parts that both tables have, with the name of their claim: by what they say."""
    theirs = {(v.claim.name, j.part.says): j for v in other for j in v.parts}
    keys = [(v.claim.name, j) for v in found for j in v.parts]
    return [(name, j, theirs[name, j.part.says]) for name, j in keys if (name, j.part.says) in theirs]


def sentences(found: Sequence[Verdict], other: Sequence[Verdict]) -> list[str]:
    """Which verdicts and parts differ, and how far means are apart, in smallest differences of the first table."""
    verdicts = {v.claim.name: v.verdict for v in other}
    turned = [f"{v.claim.name} ({v.verdict}, {there})" for v in found if (there := verdicts[v.claim.name]) != v.verdict]
    both = pairs(found, other)
    states = [f"{name}: that {a.part.says} ({a.state}, {b.state})" for name, a, b in both if a.state != b.state]
    apart = [abs(a.mean - b.mean) / a.smallest for _, a, b in both if a.smallest == a.smallest and b.n]
    out = [f"Verdicts that differ: {listed(turned) if turned else 'none'}, of {len(found)}."]
    out.append(f"Parts that differ: {'; '.join(states) if states else 'none'}, of {len(both)}.")
    if apart:
        mean = sum(apart) / len(apart)
        out.append(f"Means are {mean:.2f} smallest differences apart on average, and {max(apart):.2f} at most.")
    return out


def write(said: Sequence[str], folder: Path, other: Path, found: Sequence[Verdict]) -> Path:
    """Write these sentences into the folder of figures, with the devices and the versions of torch of the other folder's,
    and with a digest of this folder's claims.json, which they are true of.

    found: the other folder's verdicts.
    """
    abouts = [described(other, name) for name in figures(found)]
    torch = {versions.get("torch") for about in abouts if isinstance(versions := about.get("versions"), dict)}
    devices = {device for about in abouts for device in texts(about, "devices")}
    origin = {"devices": sorted(devices) or ["unknown"], "torch": sorted(map(str, torch)) or ["unknown"]}
    of = digest((folder / "claims.json").read_text(encoding="utf-8"))
    record = origin | {"of": of, "sentences": list(said)}
    write_text(folder / NAME, json.dumps(record, indent=1) + "\n")
    return folder / NAME
