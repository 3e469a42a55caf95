"""Published accuracies that ours stand beside: ResNet-20 on CIFAR-10, Renda, Frankle & Carbin (2020).

Their released data (github.com/lottery-ticket/rewinding-iclr20-public, commit 273e67d, vision/plot) hold every trial, here
of one-shot pruning by global magnitude to 10.74 % of the weights. Test accuracies come in steps of one in 8,000, and those
for validation in steps of one in 2,000: together the 10,000 test images. Counts of images make the numbers exact.
"""

TESTED = 8_000
SPARSITY = 0.8926
EPOCHS = 182
DENSE = (0.917149, 0.002338, 119)
"""Mean, standard deviation and number of the dense networks, those with the same pair of accuracies counted once."""
RIGHT = {
    "FT": {
        10: (6704, 6813, 6801),
        30: (6937, 6965, 6971),
        50: (6978, 7005, 7021),
        70: (6997, 7045, 7063),
        90: (7035, 7080, 7095),
        182: (7045, 7086, 7081),
    },
    "LRW": {
        10: (6697, 6785, 6800),
        30: (6924, 6953, 6979),
        50: (7020, 7056, 7082),
        70: (7094, 7103, 7121),
        90: (7101, 7112, 7134),
        182: (7122, 7120, 7167),
    },
}
"""Images named rightly, of TESTED, by schedule and epochs of retraining: a number for each of three trials. They call the
schedules finetune and lr_finetune."""


def accuracies(schedule: str, epochs: int) -> list[float]:
    """Test accuracy of each trial, as a share."""
    return [right / TESTED for right in RIGHT[schedule][epochs]]
