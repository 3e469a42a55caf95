"""A device is named by the user and found, or refused in a sentence."""

import pytest
import torch

from retrainlab import device, doctor
from retrainlab.checks import BadInput
from retrainlab.device import resolve


@pytest.mark.parametrize(
    "name", ["cuda:2", "cuda:", "cuda:01", "cuda:\N{SUPERSCRIPT TWO}", "cuda:x", "cpu:", "cpu:0", "auto:1"]
)
def test_a_device_by_a_number_that_is_none_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BadInput, match="There is no device"):
        resolve(name)
    assert resolve("cuda:1") == torch.device("cuda:1") and resolve("cpu") == torch.device("cpu")


def test_memory_is_given_back_only_while_no_graph_is_recorded(monkeypatch):
    """Pitfall: torch ends with an internal error where one thread empties its cache while another records."""
    held = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: held.append(device.recording.locked()))
    device.free(torch.device("cuda"))
    device.free(torch.device("cpu"))
    assert held == [True] and not device.recording.locked()


def test_doctor_leaves_the_memory_out_where_the_system_does_not_say_it(monkeypatch):
    monkeypatch.setattr(device, "memory_gib", lambda: 0.0)
    [found] = [finding.found for finding in doctor._torch() if finding.what == "device"]
    assert not found.rstrip().endswith(",")
