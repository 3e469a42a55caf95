"""First trainings that have a name: those of the figures' presets, from which a study's file can start, too."""

from retrainlab.config import SGD, Recipe

RECIPES = {
    "smoke": Recipe(width=4, epochs=4),
    "digits": Recipe(),
    "fashion-mnist": Recipe(data="fashion-mnist", width=8, epochs=6, batch_size=128, sgd=SGD(weight_decay=5e-4)),
    # Renda, Frankle & Carbin (2020): 182 epochs, learning rate divided by 10 at epochs 91 and 136.
    "cifar10": Recipe(
        data="cifar10",
        model="resnet20",
        epochs=182,
        batch_size=128,
        milestones=(91 / 182, 136 / 182),
        sgd=SGD(weight_decay=2e-4),
        all_train=True,
        precision="bfloat16",
    ),
}
