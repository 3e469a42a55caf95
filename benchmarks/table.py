"""The tables of speed in docs/speed.md and gpu.md, made from results/*.json.

python benchmarks/table.py     writes them between each page's two marks
"""

import json
from pathlib import Path

from retrainlab.paths import write_whole

ROOT = Path(__file__).parent.parent
PAGES = {"speed": ROOT / "docs" / "speed.md", "gpu": ROOT / "benchmarks" / "gpu.md"}
MARKS = "<!-- speed: made by benchmarks/table.py -->\n", "<!-- end of speed -->\n"
NAMES = {
    "usual": "usual loop",
    "loop": "plain loop",
    "batched": "engine",
    "graph": "engine, CUDA graph",
    "compiled": "engine, compiled",
}
EARLIER = "an earlier revision"
ABSENT = "not measured at this revision"
PARTS = {"feed": "feeding", "forward": "forward pass", "backward": "backward pass", "update": "update"}


def table(records: list[dict]) -> str:
    """Markdown: a block for each device, or a line that says what is not measured."""
    parts = [_block(record) for record in records]
    if not any(record["device"].startswith("cuda") for record in records):
        parts.append("CUDA GPU: not measured.\n")
    return "\n".join(parts)


def _block(record: dict) -> str:
    tables = [_case(record, case, whole=place == 0) for place, case in enumerate(_steps(record).get("cases", []))]
    return "\n".join(tables or [f"{_device(record)}; torch {record['torch']}\n"]) + _sentences(record)


def _steps(record: dict) -> dict:
    return record.get("steps", {})


def _revision(record: dict, name: str) -> str:
    """Which code a section was measured with; what was measured before this was kept is of an earlier one."""
    return f"revision {known}" if (known := record.get("revisions", {}).get(name)) else EARLIER


def _device(record: dict) -> str:
    """What was measured on; of a CPU also which, where it is known."""
    cpu = record.get("processor", "")
    return record["device"] + (f" ({cpu})" if record["device"].startswith("cpu") and "," in cpu else "")


def _case(record: dict, case: dict, whole: bool) -> str:
    """A table of one network; unless `whole`, of the engine's rows only those of one member and of the fastest."""
    rows = case["rows"]
    whose = "device" if record["device"].startswith("cuda") else "process"
    further = {  # field of a row: (head, format); those that this device's rows have
        "times_usual": ("times the usual loop", "{:.1f}"),
        "times_best": ("times the usual loop at its best", "{:.1f}"),
        "peak_mib": (f"peak memory of the {whose} (MiB)", "{:,.0f}"),
        "share_of_floor": ("share of the floor", "{:.0%}"),
    }
    further = {name: how for name, how in further.items() if any(name in row for row in rows)}
    head = ["", "members", "ms a member-step", "images/s", *(title for title, _ in further.values())]
    lines = [f"{_device(record)}; {case['case']}; torch {record['torch']}; {_revision(record, 'steps')}", ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        alike = [r for r in rows if (r["kind"], r["precision"]) == (row["kind"], row["precision"])]
        if not (whole or row["members"] == 1 or row is min(alike, key=lambda r: r["ms_per_member_step"])):
            continue
        cells = [_name(row), row["members"], f"{row['ms_per_member_step']:.3g}", f"{row['images_per_second']:,.0f}"]
        cells += [form.format(row[name]) if name in row else "" for name, (_, form) in further.items()]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _name(row: dict) -> str:
    name = NAMES[row["kind"]] + ("" if row["precision"] == "float32" else f", {row['precision']}")
    if workers := row.get("workers"):
        name += f", {workers} worker{'s' if workers > 1 else ''}"
    return name + (", not unfolded" if not row.get("unfolded", True) else "")


def _sentences(record: dict) -> str:
    out = []
    if top := _steps(record).get("ceilings"):
        out.append(
            f"The floor is the longer of what a step must move (a copy moves {top['copy_bytes_per_second'] / 1e12:.2f} TB/s "
            f"here) and what it must compute (a product makes {top['float32_flops'] / 1e12:.0f} TFLOP/s in float32, "
            f"{top['bfloat16_flops'] / 1e12:.0f} in bfloat16)."
        )
    if split := _steps(record).get("parts"):
        out.append(_split(split))
    for name, tell in SENTENCES.items():
        if name in record:
            now = _revision(record, name)
            out.append(tell(record[name]) + (f" Measured at {now}." if now != _revision(record, "steps") else ""))
    return "".join(f"\n{sentence}\n" for sentence in out)


def _split(split: dict) -> str:
    out = []
    for row in split["rows"]:
        own = ", ".join(f"{PARTS[name]} {ms:.2f}" for name, ms in row["parts"].items())
        how = "as one graph" if row["recorded"] else "called part by part"
        floor = f", {row['share_of_floor']:.0%} of the floor" if "share_of_floor" in row else ""
        members = f"{row['members']} member{'s' if row['members'] > 1 else ''}"
        made = "".join(f", in {row[unit]} {unit}" for unit in ("kernels", "operations") if unit in row)
        out.append(
            f"A step of {members} ({split['case']}, {row['precision']}) takes {row['step']:.2f} ms "
            f"{how}{floor}{made}. Its parts, one after the other, in ms: {own}. Their evaluation on 1,000 images takes "
            f"{row['evaluation']:.0f} ms."
        )
    return "\n\n".join(out)


def _study(study: dict) -> str:
    train, validation, test = study["images"]
    out = (
        f"A study of {study['runs']} retrainings, {study['slots']} of them distinct ({study['case']}, "
        f"{study['precision']}; {train:,} images to train, {validation:,} to validate and {test:,} to test on), "
        f"{study['member_steps']:,} steps and all evaluations: {study['seconds']:.1f} s with the engine {study['engine']}, "
        f"chosen in {study['probe_seconds']:.1f} s"
    )
    if "usual_seconds" in study:
        out += (
            f"; {study['usual_seconds']:,.0f} s in the usual loop, {study['times_usual']:.1f} times as long (at its best, "
            f"with {study['best_workers']} workers, {study['times_best']:.1f}), reckoned from a part of one run"
        )
    if race := study.get("race"):
        out += f". A race of {race['runs']} schedules ({race['slots']} distinct runs), from the prune to the ranking: "
        out += f"{race['seconds']:.1f} s"
    return out + "."


def _grid(grid: dict) -> str:
    return (
        f"The {grid['runs']} retrainings of figure 3 with their dense runs, {grid['steps']:,} steps: "
        f"{grid['study_seconds']:.0f} s in a study on all cores; {grid['usual_seconds']:,.0f} s in the usual loop (a "
        f"{1 / grid.get('measured', 0.05):.0f}th of it measured), {grid['times_usual']:.1f} times as long."
    )


def _scaling(scaling: dict) -> str:
    rows = [row for axis in scaling.values() for row in axis]
    kept = [row["case"] for row in rows if row["choice"] == "loop"]
    worst = min(row["times_loop"] for row in rows)
    return (
        f"In {len(rows)} cases of other widths, depths, batches and images what the probe chose had at least "
        f"{worst:.2f} times the plain loop's speed; it kept the loop for {len(kept)} of them."
    )


def _precision(half: dict) -> str:
    cells = "; ".join(
        "{:g} %/{:g} %: {:+.2f} [{:+.2f}, {:+.2f}]".format(
            *(100 * r[name] for name in ("sparsity", "budget", "mean", "low", "high"))
        )
        for r in half["rows"]
    )
    return (
        f"bfloat16 less float32, test accuracy in points, paired over {half['rows'][0]['seeds']} seeds with 95 % "
        f"interval, by sparsity/budget ({half['recipe']}): {cells}."
    )


SENTENCES = {
    "study": _study,
    "grid": _grid,
    "scaling": _scaling,
    "live": lambda live: (
        f"A callback that sees every point of 8 members' curves costs {max(0, 100 * live['cost_share']):.1f} %."
    ),
    "precision": _precision,
    "figures": lambda figures: (
        f"`make figures`: {figures['cold_seconds']:.0f} s with an empty store, {figures['warm_seconds']:.0f} s again."
    ),
}


def compared(page: str, records: list[dict]) -> str:
    """gpu.md's rows (network, precision, way, members, ms then) with a last cell of what is measured now on such a GPU, and
    a line that says where."""
    before = page.split(MARKS[0])[1].split(MARKS[1])[0]
    gpu = next((r for r in records if "H100" in r["device"] and _steps(r)), {})
    ours = {}
    for case in _steps(gpu).get("cases", []):
        for row in case["rows"]:
            key = case["case"].split(",")[0], row["precision"], NAMES[row["kind"]], str(row["members"])
            if row.get("workers", 4) == 4 and row.get("unfolded", True):
                ours[key] = f"{row['ms_per_member_step']:.3g}"
                ours[key] += f" ({row['times_usual']:.1f} x)" if "times_usual" in row else ""
    lines = []
    for line in (line for line in before.splitlines() if line.startswith("|")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(lines) > 1:
            cells[-1] = ours.get(tuple(cells[:4]), ABSENT)
        lines.append("| " + " | ".join(cells) + " |" if len(lines) != 1 else line)
    where = f"{gpu['device']}, torch {gpu['torch']}, {_revision(gpu, 'steps')}" if gpu else ABSENT
    return "\n".join(lines) + f"\n\nThe last column: {where}.\n"


def records() -> list[dict]:
    """The engine's results on each device, by file name; what else is measured lies beside them."""
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    others = ("cluster-", "explorers-", "room-", "scale-", "sessions-", "surgeon-")
    return [json.loads(path.read_text()) for path in paths if not path.name.startswith(others)]


def put(page: str, text: str) -> str:
    """The page with `text` between its marks."""
    before, rest = page.split(MARKS[0])
    return before + MARKS[0] + text + MARKS[1] + rest.split(MARKS[1])[1]


def pages(found: list[dict]) -> dict[Path, str]:
    """Both pages with the tables of these records."""
    speed, gpu = (PAGES[name].read_text() for name in PAGES)
    return {PAGES["speed"]: put(speed, table(found)), PAGES["gpu"]: put(gpu, compared(gpu, found))}


if __name__ == "__main__":
    for path, text in pages(records()).items():
        write_whole(path, lambda temporary: temporary.write_text(text))  # noqa: B023
