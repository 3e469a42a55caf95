"""docs/own.md: each example, word by word, ends in a sparse checkpoint that its network loads, in 25 lines at most."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

PAGE = (Path(__file__).parents[2] / "docs" / "own.md").read_text()
FOLDER, MODULE, PRUNED = (b for b in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "own(" in b)


def run(block: str, folder: Path, monkeypatch) -> dict:
    """The names of the example after it was carried out there."""
    assert sum(bool(line.strip()) for line in block.splitlines()) <= 25
    monkeypatch.chdir(folder)
    names: dict = {"__name__": "example"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(block, names)
    return names


def zeros(weights, names) -> float:
    return sum(int((weights[n] == 0).sum()) for n in names) / sum(weights[n].numel() for n in names)


@pytest.fixture
def table(tmp_path):
    generator = torch.Generator().manual_seed(0)

    def part(count):
        labels = torch.arange(count) % 3
        return torch.randn(count, 20, generator=generator) + labels[:, None], labels

    torch.save({"train": part(192), "validation": part(60), "test": part(60)}, tmp_path / "table.pt")
    return tmp_path


def test_a_network_of_torchvision_on_a_folder_of_grey_images_of_mixed_sizes(tmp_path, monkeypatch):
    from torchvision.models import shufflenet_v2_x0_5

    digits = load_digits()
    for label in range(3):
        images = digits.images[digits.target == label]
        for i, image in enumerate(images[:20]):
            part = "train" if i < 12 else "val" if i < 16 else "test"
            folder = tmp_path / "images" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            size = (20 + i % 3, 24 + i % 5)
            Image.fromarray((image * 15).astype(np.uint8)).resize(size).save(folder / f"{i}.png")
    model = shufflenet_v2_x0_5(num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4)
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    names = run(FOLDER, tmp_path, monkeypatch)
    told, answer = str(names["net"]), names["answer"]
    assert told.startswith("ShuffleNetV2: Pruning may take weights of 57 layers") and len(answer.table) == 18
    assert (answer.table["dense_lr"] == 0.05).all() and (answer.table["weight_decay"] == 1e-4).all()
    weights = torch.load(tmp_path / "sparse.pt", weights_only=True)
    model.load_state_dict(weights, strict=True)
    assert zeros(weights, names["net"].setup.prunable) == pytest.approx(0.8, abs=1e-4)


def test_a_module_of_the_users_with_tensors(table, monkeypatch):
    definition = MODULE.partition("data = ")[0]
    exec(definition, names := {"__name__": "before"})
    torch.save(names["Table"]().state_dict(), table / "table_weights.pt")
    names = run(MODULE, table, monkeypatch)
    answer = names["answer"]
    assert set(answer.table["budget"]) == {0.1, 0.2} and len(answer.advice) == 2
    assert zeros(names["sparse"].state_dict(), ["hidden.weight", "out.weight"]) == pytest.approx(0.6, abs=1e-3)
    assert (table / "budgets.png").stat().st_size > 10_000


def test_a_network_that_torch_has_pruned(table, monkeypatch):
    plain = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
    torch.save(plain.state_dict(), table / "plain_weights.pt")
    names = run(PRUNED, table, monkeypatch)
    assert "80.03 % of these are pruned already" in str(names["net"]) and "hide of the weights" in str(names["answer"])
    weights = torch.load(table / "sparse.pt", weights_only=True)
    plain.load_state_dict(weights, strict=True)
    assert zeros(weights, ["0.weight", "2.weight"]) == pytest.approx(0.8, abs=1e-3)
