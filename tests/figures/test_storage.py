"""Figure 13: its table against hand counts, its picture, and words that are those of its numbers."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab import Prune, stats
from retrainlab.checks import BadInput
from retrainlab.figures import storage, style
from retrainlab.figures.sentences import storage as sentences
from tests.helpers import made_figures

SEED = {"dense_test_accuracy": [0.9, 0.8], "seed": [0, 1]}


def cell(structure: str, sparsity: float, accuracies: list[float], **own: object) -> pd.DataFrame:
    none = dict.fromkeys(("shrunken_speedup", "measured_speedup"), np.nan)
    given = none | {"n": 2, "m": 4, "sparsity_achieved": sparsity, "theoretical_speedup": 2.0} | own
    return pd.DataFrame(SEED | {"structure": structure, "sparsity": sparsity, "test_accuracy": accuracies} | given)


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two seeds of three masks, and the sizes of two files of each network."""
    frame = pd.concat(
        [
            cell("unstructured", 0.5, [0.8, 0.6], theoretical_speedup=[2.0, 4.0]),
            cell("n:m", 0.75, [0.9, 0.8], n=1, sparsity_achieved=[0.7, 0.72]),
            cell("filters", 0.5, [0.7, 0.7], shrunken_speedup=[3.0, 5.0], measured_speedup=[1.0, 2.0]),
        ],
        ignore_index=True,
    )
    rows = [
        (place, precision, encoding, packed, 100 * (place + 1) + 10 * packed + (encoding == "csr"))
        for place in range(6)
        for precision in ("float32", "bfloat16")
        for encoding in ("dense", "csr")
        for packed in (False, True)
    ]
    sizes = pd.DataFrame(rows, columns=["place", "precision", "encoding", "gzipped", "bytes"])
    sizes.loc[sizes["precision"] == "bfloat16", "bytes"] = 1
    return frame, sizes


def test_the_table_by_hand():
    found = storage.compared(*frames()).set_index("structure")
    assert list(found.index) == ["unstructured", "n:m", "filters"] and set(found["dense"].round(9)) == {0.85}
    assert list(found["mean"]) == pytest.approx([0.7, 0.85, 0.7]) and list(found["n"]) == [2, 2, 2]
    assert list(found["cost_mean"]) == pytest.approx([-0.15, 0, -0.15])
    assert list(found.loc["filters", ["cost_low", "cost_high"]]) == pytest.approx(stats.interval([-0.2, -0.1])[1:])
    assert list(found["pattern"]) == ["", "1:4", ""] and found.loc["n:m", "removed"] == pytest.approx(0.71)
    assert list(found["theory"]) == [3, 2, 2]
    assert found.loc["filters", ["smaller", "measured_low", "measured", "measured_high"]].tolist() == [
        4,
        1.25,
        1.5,
        1.75,
    ]
    assert found.loc[["unstructured", "n:m"], ["smaller", "measured"]].isna().all(axis=None)
    assert list(found["bytes_dense"]) == [150, 350, 550], "float32 alone"
    assert list(found["bytes_csr_gzip"]) == [161, 361, 561]


def test_a_run_that_diverged_is_in_no_mean():
    frame, sizes = frames()
    frame.loc[0, ["test_accuracy", "sparsity_achieved", "theoretical_speedup"]] = np.nan
    found = storage.compared(frame, sizes[sizes["place"] != 0]).iloc[0]
    assert found[["mean", "left_out", "removed", "theory", "bytes_dense"]].tolist() == [0.6, 1, 0.5, 4, 200]


def test_patterns_are_prunes():
    assert storage.pattern("2:4") == Prune(0.5, structure="n:m", n=2, m=4)
    assert storage.pattern("1:8").sparsity == 0.875


@pytest.mark.parametrize("text", ["2", "2:4:8", "a:b", "", "2/4", "0:4", "5:4", "1:0", "1:1"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(BadInput):
        storage.pattern(text)


def test_the_words_are_those_of_the_numbers():
    table = made_figures.table("fig13_storage")
    measured = table[table["structure"] == "filters"].set_index("sparsity")["measured"]
    speed = sentences.speed(table)
    assert speed.startswith(
        "A mask alone makes no network faster, though the multiply-adds fall, for example 4.0 times"
    )
    assert f"{measured[0.5]:.2f} (" in speed and f"{measured[0.75]:.2f} (" in speed
    assert "without 50 % of the filters, 2.00 in theory" in speed
    size = sentences.size(table)  # 95 % of the weights: 1250 * 0.05 + 5 = 67.5 of 1000 bytes, / 100 + 45 gzipped
    assert "21.9 times for filters at 75 % (95.0 % of the weights) (sparse rows (CSR), gzipped)" in size
    assert "CSR beats the bit mask for: filters at 75 % (95.0 % of the weights)." in size
    own = table.set_index(["structure", "sparsity"]).loc[("n:m", 0.75)]
    assert f"n:m patterns: 2:4 {100 * table.loc[2, 'cost_mean']:+.1f}" in sentences.cost(table)
    assert f"2:8 {100 * own['cost_mean']:+.1f} ({own['cost_verdict']})" in sentences.cost(table)


def test_the_finding_names_the_fastest_network_and_its_price_and_the_smallest_file():
    table = made_figures.table("fig13_storage")
    best = table.loc[table["measured"].idxmax()]
    price = f"{100 * best['cost_mean']:+.1f} points ({best['cost_corrected']}, corrected)"
    smaller = "files up to 21.9 times smaller (filters at 75 % (95.0 % of the weights))"
    assert sentences.finding(table) == (
        f"masks alone save no time; without 75 % of the filters {best['measured']:.2f} times as fast, at {price}; {smaller}"
    )
    assert "without" not in sentences.finding(table[table["structure"] != "filters"])


def test_the_picture_shows_every_number_and_names_its_axes():
    table = made_figures.table("fig13_storage")
    figure = storage.storage(table)
    figure.savefig(io.BytesIO())
    accuracy, speed, *panels = figure.axes
    assert [ax.get_title() for ax in panels] == [f"File size: {name}" for name in sentences.NAMES.values()]
    assert all(ax.get_xlabel() == "Weights removed (%)" for ax in figure.axes)
    lines = {str(line.get_label()): line for line in panels[2].lines}
    assert list(lines) == list(sentences.FILES.values())
    own = table[table["structure"] == "filters"]
    np.testing.assert_allclose(lines["dense"].get_ydata(), [100, 100])
    np.testing.assert_allclose(
        np.asarray(lines["bit mask and values"].get_ydata(), dtype=float),
        100 * own["bytes_bitmask"] / own["bytes_dense"],
    )
    drawn = next(c for c in speed.containers if "measured" in c.get_label()).lines[0]
    np.testing.assert_allclose(np.asarray(drawn.get_ydata(), dtype=float), own["measured"])
    assert speed.get_yscale() == panels[0].get_yscale() == "log" and accuracy.get_ylabel() == "Test accuracy (%)"


def test_masks_and_encodings_differ_in_colour_and_marker():
    for looks in (style.MASKS.values(), style.ENCODINGS.values()):
        assert len({look.marker for look in looks}) == len({to_rgb(look.color) for look in looks}) == len(looks) == 3
