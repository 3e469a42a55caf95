"""The table of speed in docs/speed.md, made from results/*.json.

python benchmarks/table.py     writes it between the page's two marks
"""

import json
from pathlib import Path

from retrainlab.paths import write_whole

ROOT = Path(__file__).parent.parent
MARKS = "<!-- speed: made by benchmarks/table.py -->\n", "<!-- end of speed -->\n"
NAMES = {"usual": "usual loop", "loop": "plain loop", "batched": "engine", "graph": "engine, CUDA graph"}


def table(records: list[dict]) -> str:
    """Markdown: a block for each device, or a line that says what is not measured."""
    parts = [_block(record) for record in records]
    if not any(record["device"].startswith("cuda") for record in records):
        parts.append("CUDA GPU: not measured.\n")
    return "\n".join(parts)


def _block(record: dict) -> str:
    steps = record["steps"]
    tables = [_case(record, case, whole=place == 0) for place, case in enumerate(steps["cases"])]
    return "\n".join(tables) + _sentences(record)


def _case(record: dict, case: dict, whole: bool) -> str:
    """A table of one network; unless `whole`, of the engine's rows only those of one member and of the fastest."""
    floor = "ceilings" in record["steps"]
    whose = "device" if record["device"].startswith("cuda") else "process"
    head = ["", "members", "ms a member-step", "images/s", "times the usual loop", f"peak memory of the {whose} (MiB)"]
    lines = [f"{record['device']}; {case['case']}; torch {record['torch']}", ""]
    head += ["share of the floor"] * floor
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in case["rows"]:
        alike = [r for r in case["rows"] if (r["kind"], r["precision"]) == (row["kind"], row["precision"])]
        if not (whole or row["members"] == 1 or row is min(alike, key=lambda r: r["ms_per_member_step"])):
            continue
        name = NAMES[row["kind"]] + ("" if row["precision"] == "float32" else f", {row['precision']}")
        cells = [name, row["members"], f"{row['ms_per_member_step']:.3g}", f"{row['images_per_second']:,.0f}"]
        cells += [f"{row['times_usual']:.1f}", f"{row['peak_mib']:,.0f}"]
        if floor:
            cells.append(f"{row['share_of_floor']:.0%}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _sentences(record: dict) -> str:
    out = []
    if top := record["steps"].get("ceilings"):
        out.append(
            f"The floor is the longer of what a step must move (a copy moves {top['copy_bytes_per_second'] / 1e12:.2f} TB/s "
            f"here) and what it must compute (a product makes {top['float32_flops'] / 1e12:.0f} TFLOP/s in float32, "
            f"{top['bfloat16_flops'] / 1e12:.0f} in bfloat16)."
        )
    if grid := record.get("grid"):
        out.append(
            f"The {grid['runs']} retrainings of figure 3 with their dense runs, {grid['steps']:,} steps: "
            f"{grid['study_seconds']:.0f} s in a study on all cores; {grid['usual_seconds']:,.0f} s in the usual loop (a "
            f"20th of it measured), {grid['times_usual']:.1f} times as long."
        )
    if scaling := record.get("scaling"):
        rows = [row for axis in scaling.values() for row in axis]
        kept = [row["case"] for row in rows if row["choice"] == "loop"]
        worst = min(row["times_loop"] for row in rows)
        out.append(
            f"In {len(rows)} cases of other widths, depths, batches and images what the probe chose had at least "
            f"{worst:.2f} times the plain loop's speed; it kept the loop for {len(kept)} of them."
        )
    if live := record.get("live"):
        out.append(
            f"A callback that sees every point of 8 members' curves costs {max(0, 100 * live['cost_share']):.1f} %."
        )
    if half := record.get("precision"):
        cells = "; ".join(
            "{:g} %/{:g} %: {:+.2f} [{:+.2f}, {:+.2f}]".format(
                *(100 * r[name] for name in ("sparsity", "budget", "mean", "low", "high"))
            )
            for r in half["rows"]
        )
        out.append(
            f"bfloat16 less float32, test accuracy in points, paired over {half['rows'][0]['seeds']} seeds with 95 % "
            f"interval, by sparsity/budget ({half['recipe']}): {cells}."
        )
    if figures := record.get("figures"):
        out.append(
            f"`make figures`: {figures['cold_seconds']:.0f} s with an empty store, {figures['warm_seconds']:.0f} s again."
        )
    return "".join(f"\n{sentence}\n" for sentence in out)


def records() -> list[dict]:
    """The engine's results on each device, by file name; others lie beside them."""
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths if not path.name.startswith(("explorers-", "surgeon-"))]


def put(page: str, text: str) -> str:
    """The page with `text` between its marks."""
    before, rest = page.split(MARKS[0])
    return before + MARKS[0] + text + MARKS[1] + rest.split(MARKS[1])[1]


if __name__ == "__main__":
    path = ROOT / "docs" / "speed.md"
    text = put(path.read_text(), table(records()))
    write_whole(path, lambda temporary: temporary.write_text(text))
