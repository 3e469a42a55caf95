"""The nouns of an experiment: Recipe, Prune, Retrain, Experiment. Frozen, checked when made, hashed by content.

An experiment is three sentences: train this network so (Recipe), take these weights away (Prune), train again so
(Retrain). Everything that changes a result is a field here, the seed included; where and how fast it ran is not.
This module does not load torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from retrainlab.checks import REFERENCE, BadInput, check_number, choice, choose, is_reference, number, settle, told
from retrainlab.data.sources import BUILT_IN
from retrainlab.methods.knobs import Knobs

DATASETS = tuple(BUILT_IN)
MODELS = ("mlp", "resnet8", "resnet20", "resnet56", "resnet18", "vgg16", "wrn28-10")
LIBRARIES = ("torchvision/", "timm/")  # whose networks have names of their own
ENGINES = ("auto", "loop", "batched", "graph", "compiled")
PRECISIONS = ("float32", "bfloat16")
DENSE_SCHEDULES = ("constant", "step", "multistep", "cosine", "linear")
NAMED_SCHEDULES = ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")
FREE_SCHEDULES = ("constant", "stepped", "cosine", "linear", "rex", "cosine-to-0", "custom")
SCORES = ("magnitude", "random", "obd", "obs")
ALLOCATIONS = ("global", "uniform", "erk", "lamp")
OPTIMIZERS = ("fresh", "cycles", "keep")
STRUCTURES = ("unstructured", "filters", "neurons", "n:m")
LARGEST = 1e30  # learning rate and weight decay; float32 ends at 3e38


def check_points(points: Sequence[tuple[float, float]]) -> None:
    """Raise BadInput unless `points` (share of the run, learning rate) can draw a curve: at least one, shares rising
    strictly within [0, 1], learning rates not negative."""
    if not points:
        raise BadInput("A drawn curve needs at least one control point (share of the run, learning rate).")
    for share, lr in points:
        check_number(share, "share of a control point", low=0, high=1)
        check_number(lr, "learning rate of a control point", low=0, high=LARGEST)
    shares = [p[0] for p in points]
    if any(a >= b for a, b in zip(shares, shares[1:])):
        raise BadInput(f"The control points' shares must rise strictly, but are {shares}.")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with the conventions of `torch.optim.SGD` (dampening 0).

    weight_decay: the factor of w that is added to the gradient; with decay_norm also for the parameters that are never
    pruned, biases and normalisation layers.
    """

    momentum: float = number(0.9, "of SGD", low=0, high=0.9999)
    nesterov: bool = told(False, "Nesterov's momentum")
    weight_decay: float = number(
        1e-4, "of SGD, in the dense run and in retraining", "weight decay", low=0, high=LARGEST
    )
    decay_norm: bool = told(True, "decay biases and normalisation layers too")

    def __post_init__(self) -> None:
        settle(self)
        if self.nesterov and self.momentum == 0:
            raise BadInput("Nesterov's step needs a momentum above 0.")


@dataclass(frozen=True)
class Recipe:
    """The first training, before any prune: data, network, schedule, optimiser and seed.

    data: a name of DATASETS, or the path of a folder in torchvision's ImageFolder layout (then `image_size` pixels square).
    data, model and schedule may be references, `package.module:name`, to code of the user's (docs/own.md): importing is left
    to those who need it.
    schedule: `multistep` multiplies the learning rate by gamma at the milestones, `step` after each 30 % of the run.
    method: None for dense training, or the settings of a method that sparsifies as it trains, such as `GMP(0.9)` from
    `methods.table`. precision: holds in retraining, too; with `bfloat16` torch's autocast computes in it where it may, and
    parameters, updates and evaluations stay in float32.
    """

    data: str = told("digits", f"{', '.join(DATASETS)}, a folder of images, such as ./images, or package.module:load")
    model: str = told("resnet8", f"{', '.join(MODELS)}, torchvision/NAME, timm/NAME, or package.module:factory")
    width: int | None = number(
        None,
        "channels of the first stage (mlp: hidden units, wrn28-10: the factor 10); the published ones if left out",
        low=1,
    )
    epochs: int = number(30, "length of the dense run", "number of epochs", low=1)
    batch_size: int = number(32, "images in a step", "batch size", low=2)
    schedule: str = choice("multistep", DENSE_SCHEDULES, "dense schedule", reference=True)
    lr: float = number(0.1, "its peak learning rate", "learning rate", above=0, high=LARGEST)
    warmup: float = number(0.0, "share of it in which the learning rate rises", "warm-up share", low=0, high=0.9)
    milestones: tuple[float, ...] = told((0.5, 0.75), "where multistep multiplies by gamma, as shares of the dense run")
    gamma: float = number(0.1, "factor of step and multistep", above=0, high=1)
    sgd: SGD = field(default_factory=SGD)
    augment: bool = told(True, "random crops (and flips, where the data allow them) in training")
    all_train: bool = told(False, "train on the validation images too; then choose nothing on them")
    image_size: int | None = number(None, "pixels of the images of a folder", "image size", low=4)
    seed: int = number(0, "random seed; study takes several", low=0)
    method: Knobs | None = None
    precision: str = choice("float32", PRECISIONS, help="float32, or bfloat16 for forward and backward passes")
    embeddings: bool = told(False, "prune embeddings too, where the network has some")

    def __post_init__(self) -> None:
        settle(self)
        if "/" not in self.data and "\\" not in self.data:
            if not is_reference(self.data):
                more = f"a folder of images, written with a slash, such as ./images, or {REFERENCE}"
                choose(self.data, DATASETS, "data set", more)
            if self.image_size is not None:
                raise BadInput(f"The images of {self.data} have a size of their own; leave the image size out.")
        if not self.model.startswith(LIBRARIES) and not is_reference(self.model):
            choose(self.model, MODELS, "model", REFERENCE)
        for share in self.milestones:
            check_number(share, "milestone", above=0, high=1)

    @property
    def revision(self) -> int:
        """1 for vit and swin: revision 0 did not prune all weights of attention (vit), or not count all its products."""
        return int(self.model.startswith(("torchvision/vit_", "torchvision/swin_")))


@dataclass(frozen=True)
class Prune:
    """Which weights are taken away: `sparsity` is the total share of prunable weights that ends at zero.

    cycles: k > 1 repeats {prune, retrain} and removes the same share of what remains each time. structure: single
    weights; whole `filters` of convolutions, by root mean square, or whole `neurons` of hidden Linear layers, by L2 norm
    (sparsity is then the share of filters, or of neurons); or `n:m`, n weights kept of each m neighbours along the inputs
    (sparsity must be 1 - n/m; layers whose inputs m does not divide stay dense, and the sparsity reached is less by their
    share). keep_first, keep_last: the other layers then reach the total alone.
    """

    sparsity: float = number(
        0.9,
        "share of the prunable weights that goes (of the filters or neurons, for those structures); study takes several",
        low=0,
        high=1,
    )
    score: str = choice("magnitude", SCORES, "pruning score", reference=True)
    allocation: str = choice("global", ALLOCATIONS, "allocation")
    structure: str = choice("unstructured", STRUCTURES, "structure")
    cycles: int = number(1, "1 is one-shot; more is iterative pruning", "number of cycles", low=1)
    keep_first: bool = told(False, "leave the first layer dense")
    keep_last: bool = told(False, "leave the last layer dense")
    n: int = told(2, "weights kept of each m, for structure n:m")
    m: int = told(4, "neighbours of which n are kept, along a layer's inputs, for structure n:m")

    def __post_init__(self) -> None:
        settle(self)
        if self.structure in ("filters", "neurons") and self.allocation not in ("global", "uniform"):
            raise BadInput(f"Whole {self.structure} are allocated 'global' or 'uniform', not '{self.allocation}'.")
        if self.structure == "n:m":
            check_number(self.m, "m of n:m", low=2, whole=True)
            check_number(self.n, "n of n:m", low=1, high=self.m, whole=True)
            exact = 1 - self.n / self.m
            if abs(self.sparsity - exact) > 5e-4:
                raise BadInput(
                    f"Keeping {self.n} of each {self.m} weights is a sparsity of {exact:g}, not {self.sparsity:g}; give "
                    "that sparsity, or another n and m."
                )
            if abs(self.sparsity - exact) > 1e-9:  # such as 0.667, which means 1:3
                object.__setattr__(self, "sparsity", exact)
            if self.cycles != 1 or self.allocation != "global":
                raise BadInput(
                    "An n:m pattern is pruned in one cycle and has no allocation; leave both at their defaults."
                )

    @property
    def revision(self) -> int:
        """1 for `n:m`: in results of revision 0, groups in convolutions lay along kernel positions, not input channels."""
        return int(self.structure == "n:m")

    @property
    def targets(self) -> tuple[float, ...]:
        """The total sparsity after each cycle: 1 - (1 - s)**i with s = 1 - (1 - S)**(1/k); the last is exactly S."""
        share = 1 - (1 - self.sparsity) ** (1 / self.cycles)
        return (*(1 - (1 - share) ** i for i in range(1, self.cycles)), self.sparsity)


@dataclass(frozen=True)
class Retrain:
    """How the pruned network is trained again, for `budget` times the dense run's length in each cycle.

    schedule: a name of NAMED_SCHEDULES, or of FREE_SCHEDULES with the initial value `lr` (`custom`: with `points`, pairs
    of share of the run and learning rate). The code of ALLR's authors has ramp `cosine`, optimizer `cycles` (one for all
    cycles, but not the dense run's) and allr_norm `all`; their paper has allr_norm `prunable`. allr_cycles: `last` starts
    the cycles before from ALLR's largest learning rate.

    split: the budget is divided equally between the cycles, the last of which takes the remainder (BIMP). freeze: the
    weights that pruning left do not change (PERP, Zimmer et al. 2023). copies: each is trained for the budget on batches
    of its own, and their average is recalibrated (Zimmer et al. 2024, Sparse Model Soups). sgd: the recipe's if None.
    """

    schedule: str = choice(
        "LLR",
        (*NAMED_SCHEDULES, *FREE_SCHEDULES),
        "retraining schedule",
        f"{', '.join(NAMED_SCHEDULES)}, or with --lr {', '.join(s for s in FREE_SCHEDULES if s != 'custom')}; "
        "study takes several",
        reference=True,
    )
    budget: float = number(
        0.1,
        "length of a cycle's retraining, as a share of the dense run; 0 is none; study takes several",
        "budget (share of the dense run)",
        low=0,
    )
    lr: float | None = told(None, "initial learning rate of a free schedule")
    warmup: float = number(
        0.1, "share of the retraining in which the learning rate rises", "warm-up share", low=0, high=0.9
    )
    ramp: str = choice("linear", ("linear", "cosine"), "warm-up ramp", "linear or cosine warm-up of the retraining")
    points: tuple[tuple[float, float], ...] = ()
    optimizer: str = choice(
        "fresh",
        OPTIMIZERS,
        "optimiser choice",
        "fresh in every cycle; cycles: one for all of them; keep: the dense run's momentum, too",
    )
    allr_norm: str = choice(
        "prunable",
        ("prunable", "all"),
        "norm for ALLR",
        "ALLR's norm over the prunable weights or all parameters: prunable, all",
    )
    allr_cycles: str = choice(
        "every",
        ("every", "last"),
        "choice of ALLR's cycles",
        "ALLR's factor in every cycle or the last one only: every, last",
    )
    clamp: bool = told(False, "let LRW retrain for longer than the dense run")
    recalibrate: bool = told(False, "refresh BatchNorm's statistics after the last step")
    split: bool = told(False, "the budget is for all cycles together, as in BIMP")
    freeze: bool = told(False, "retrain biases and normalisation only (PERP)")
    copies: int = number(
        1,
        "retrain so many copies with one mask and average them (sparse model soups)",
        "number of copies to average",
        low=1,
    )
    sgd: SGD | None = None

    def __post_init__(self) -> None:
        settle(self)
        if self.schedule in FREE_SCHEDULES and self.schedule != "custom":
            if self.lr is None:
                raise BadInput(f"The schedule '{self.schedule}' needs its initial learning rate: give lr, above 0.")
            check_number(self.lr, "initial learning rate", above=0, high=LARGEST)
        elif self.lr is not None and not is_reference(self.schedule):
            raise BadInput(f"The schedule '{self.schedule}' sets its own learning rate; leave lr out.")
        if bool(self.points) != (self.schedule == "custom"):
            raise BadInput("The schedule 'custom' needs control points, and no other schedule takes them.")
        if self.points:
            check_points(self.points)


@dataclass(frozen=True)
class Experiment:
    """First training, pruning, retraining. `evaluations`: points of the retraining curve after the one at its start."""

    recipe: Recipe = field(default_factory=Recipe)
    prune: Prune = field(default_factory=Prune)
    retrain: Retrain = field(default_factory=Retrain)
    evaluations: int = number(5, "points of the retraining curve after the first", "number of evaluations", low=1)

    @property
    def revision(self) -> int:
        """1 after a method that sparsifies: in results of revision 0, ALLR counted its zeros as removed by the prune."""
        return 0 if self.recipe.method is None else 1

    def __post_init__(self) -> None:
        settle(self)
        method = self.recipe.method
        left = getattr(method, "sparsity", 0.0)
        if method is not None and self.prune.targets[0] < left - 1e-9:
            raise BadInput(
                f"{method.name} trains to a sparsity of {left:g}, but the first prune after it asks for "
                f"{self.prune.targets[0]:g}, which would bring weights back; ask for at least {left:g}, in one cycle."
            )
        cycle = self.retrain.budget / (self.prune.cycles if self.retrain.split else 1)
        if self.retrain.schedule == "LRW" and cycle > 1 and not self.retrain.clamp:
            raise BadInput(
                f"LRW replays the end of the dense run, but {cycle * self.recipe.epochs:g} epochs of "
                f"retraining are longer than its {self.recipe.epochs} epochs; give a budget of at most 1, "
                "or set clamp to hold the peak learning rate until the replay can start."
            )
