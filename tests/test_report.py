"""What is printed of a study: what was computed in one way is said once, and what was not has columns."""

import math

import pandas as pd
import pytest

from retrainlab.report import table

GPU, CPU = "cuda, NVIDIA H100, 79 GiB", "cpu, 2 cores"


def frame(precisions=("float32",), devices=(CPU,)) -> pd.DataFrame:
    """Two schedules, three seeds; the devices take turns from seed to seed."""
    rows = [
        {
            "sparsity": 0.9,
            "budget": 0.1,
            "schedule": schedule,
            "seed": seed,
            "precision": precision,
            "device": devices[seed % len(devices)],
            "method": "dense",
            "outcome": "",
            "test_accuracy": 0.8 + 0.01 * seed + 0.1 * (schedule == "LLR") - 0.05 * (precision == "bfloat16"),
            "dense_test_accuracy": 0.9 if precision == "float32" else 0.85,
            "key": f"{precision} {schedule} {seed}",
        }
        for precision in precisions
        for schedule in ("FT", "LLR")
        for seed in range(3)
    ]
    lacking = ("sparsity_achieved", "trained_sparsity", "measured_speedup", "compression_ratio")
    return pd.DataFrame(rows).assign(**dict.fromkeys(lacking, math.nan))


def test_what_is_the_same_for_all_rows_is_said_above_them():
    head, columns, *rows = table(frame()).splitlines()
    assert head == "dense: 90.00 % test accuracy; all computed in float32 on cpu, 2 cores"
    assert "precision" not in columns and "device" not in columns and len(rows) == 2


def test_rows_of_two_precisions_are_not_taken_together():
    head, columns, *rows = table(frame(precisions=("float32", "bfloat16"))).splitlines()
    assert head == (
        "dense: 90.00 % test accuracy in float32, 85.00 % test accuracy in bfloat16; all computed on cpu, 2 cores"
    )
    assert columns.split()[-1] == "precision" and "device" not in columns
    cells = [row.split() for row in rows]
    assert [(row[2], row[-1]) for row in cells] == [
        ("FT", "float32"), ("LLR", "float32"), ("FT", "bfloat16"), ("LLR", "bfloat16"),
    ]  # fmt: skip
    assert [float(row[3]) for row in cells] == pytest.approx([81, 91, 76, 86])


def test_devices_may_be_mixed_and_each_line_names_its_own():
    mixed = frame(devices=(CPU, GPU))
    head, columns, *rows = table(mixed).splitlines()
    assert head == "dense: 90.00 % test accuracy; all computed in float32" and columns.split()[-1] == "device"
    assert all(row.endswith(f" {CPU} and {GPU}") for row in rows) and len(rows) == 2
    mixed.loc[mixed["schedule"] == "FT", "device"] = GPU
    mixed.loc[mixed["schedule"] == "LLR", "device"] = CPU
    ft, llr = table(mixed).splitlines()[2:]
    assert ft.endswith(f" {GPU}") and llr.endswith(f" {CPU}") and " and " not in ft + llr


def test_with_nothing_in_common_nothing_is_said_above():
    head, columns, *rows = table(frame(("float32", "bfloat16"), (CPU, GPU))).splitlines()
    assert "all computed" not in head and columns.split()[-2:] == ["precision", "device"] and len(rows) == 4
