"""The usual loop of this field, as public code for pruning and retraining writes it: what ours is compared with.

A DataLoader with worker processes that decode and augment image by image through PIL, `torch.nn.utils.prune`'s
reparametrisation, eager float32, `loss.item()` and a learning rate set by hand in each step, one run after the other.
Nothing in it is made slow on purpose: it evaluates as rarely as ours does, logs to a list, and its workers are started once
and kept for all runs (`persistent_workers`), which is not the default.
"""

import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader
from torchvision import transforms

from retrainlab.config import SGD
from retrainlab.data.dataset import Dataset, Split
from retrainlab.device import cores, synchronise

WORKERS = (2, 4, 8)  # of a DataLoader, that are tried


def usually() -> int:
    """How many workers a DataLoader of the usual loop has: 4, or fewer where there are fewer cores."""
    return min(4, cores())


def worth_trying() -> list[int]:
    """Numbers of workers of which the best for this machine is chosen: WORKERS as far as it has half as many cores, and one
    for each core."""
    return sorted({n for n in (*WORKERS, cores()) if n <= 2 * cores()})


class Retrained(NamedTuple):
    """accuracy: on the validation images, as a share. seconds: of everything. in_steps: of these, those of the steps, with
    the loading of their images and without evaluations."""

    accuracy: float
    seconds: float
    in_steps: float


class Images(torch.utils.data.Dataset):
    """Images held as arrays, opened through PIL and transformed one at a time, as torchvision's data sets do."""

    def __init__(self, split: Split, transform):
        self.images = split.images.permute(0, 2, 3, 1).squeeze(-1).cpu().contiguous().numpy()
        self.labels, self.transform = split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def loaders(data: Dataset, batch_size: int, workers: int) -> tuple[DataLoader, DataLoader]:
    """For training, with crops and flips, and for validation; workers: processes of each."""
    normalise = transforms.Normalize((data.mean / 255).tolist(), (data.std / 255).tolist())
    size, (pad, flip) = data.shape[1], (data.augmentation.pad, data.augmentation.flip)
    augment = [transforms.RandomCrop(size, padding=pad)] + [transforms.RandomHorizontalFlip()] * flip
    training = transforms.Compose([*augment, transforms.ToTensor(), normalise])
    plain = transforms.Compose([transforms.ToTensor(), normalise])
    how = dict(num_workers=workers, persistent_workers=workers > 0, pin_memory=data.device.type == "cuda")
    return (
        DataLoader(Images(data.train, training), batch_size, shuffle=True, drop_last=True, **how),
        DataLoader(Images(data.validation, plain), 1000, **how),
    )


def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Accuracy, as a share."""
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in loader:
            scores = model(images.to(device))
            right += (scores.argmax(1) == labels.to(device)).sum().item()
            total += len(labels)
    model.train()
    return right / total


def retrain(
    model: nn.Module,
    masks: dict[str, Tensor],
    training: DataLoader,
    validation: DataLoader,
    curve: list[float],
    *,
    sgd: SGD,
    device: torch.device,
    evaluations: int = 5,
) -> Retrained:
    """Prune `model` by `masks` and retrain it, one step for each learning rate; evaluated at the start and `evaluations`
    times after."""
    synchronise(device)
    start = time.perf_counter()
    for name, mask in masks.items():
        path, _, parameter = name.rpartition(".")
        prune.custom_from_mask(model.get_submodule(path), parameter, mask)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=curve[0], momentum=sgd.momentum, nesterov=sgd.nesterov, weight_decay=sgd.weight_decay
    )
    losses, step, evaluating = [], 0, 0.0
    pauses = {round(len(curve) * i / evaluations) for i in range(evaluations + 1)}

    def pause() -> float:
        nonlocal evaluating
        began = time.perf_counter()
        found = evaluate(model, validation, device)
        evaluating += time.perf_counter() - began
        return found

    accuracy, before = pause(), time.perf_counter()
    evaluating = 0.0
    while step < len(curve):
        for images, labels in training:
            images, labels = images.to(device), labels.to(device)
            for group in optimizer.param_groups:
                group["lr"] = curve[step]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
            if step in pauses:
                accuracy = pause()
            if step == len(curve):
                break
    in_steps = time.perf_counter() - before - evaluating
    for name in masks:
        path, _, parameter = name.rpartition(".")
        prune.remove(model.get_submodule(path), parameter)
    synchronise(device)
    return Retrained(accuracy, time.perf_counter() - start, in_steps)
