"""A feed on the device gives each seed the batches that it would have alone, bit for bit."""

from dataclasses import replace

import pytest
import torch

from retrainlab.data.batches import Feed, batches
from retrainlab.data.dataset import Augmentation, load

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
SEEDS = [(0, "a"), (1, "a"), (0, "b", 3)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("augment", [True, False], ids=["augmented", "plain"])
@pytest.mark.parametrize(
    "augmentation", [Augmentation(1, True), Augmentation(0, False), Augmentation(2, False)], ids=str
)
@pytest.mark.parametrize("seeds", [SEEDS, SEEDS[:1]], ids=["three seeds", "one seed"])
def test_a_feed_gives_each_seed_its_batches_bit_for_bit(device, augment, augmentation, seeds):
    data = replace(load("digits", device), augmentation=augmentation)
    size, per_epoch = 300, 3
    feed, step = Feed(data, size, seeds, augment), torch.zeros(1, dtype=torch.int64, device=device)
    places = [t.data_ptr() for t in vars(feed.draws).values()]
    alone = [list(batches(data, size, 8, seed, augment)) for seed in seeds]
    for now in range(8):
        if now % per_epoch == 0:
            feed.fill(now // per_epoch)
        images, labels = feed.batch(step)
        for i, own in enumerate(alone):
            assert torch.equal(images[i], own[now][0]) and torch.equal(labels[i], own[now][1])
        step += 1
    assert [t.data_ptr() for t in vars(feed.draws).values()] == places


def test_a_feed_may_begin_within_an_epoch():
    """As when members leave there, and the others are stacked anew."""
    data = load("digits")
    feed = Feed(data, 300, SEEDS, True)
    feed.fill(1)
    images, _ = feed.batch(torch.tensor([5]))
    assert all(torch.equal(x, list(batches(data, 300, 6, seed))[5][0]) for x, seed in zip(images, SEEDS, strict=True))
