"""A network of the reader's own: what may be pruned, which schedule brings it back, and the sparse weights."""

from dataclasses import dataclass, replace

from retrainlab.adopt.answer import Answer
from retrainlab.adopt.own import Own, own
from retrainlab.checks import BadInput, choice, number, settle
from retrainlab.config import DENSE_SCHEDULES, MODELS, NAMED_SCHEDULES, Experiment, Prune, Retrain
from retrainlab.data.dataset import load
from retrainlab.explore.kit import chart
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.views import budget, race
from retrainlab.phrases import percent, share
from retrainlab.study.making import Watch

SAMPLE = "retrainlab.adopt.sample:network"
NETWORKS = (SAMPLE, *MODELS)  # suggestions: any other reference or name may be typed


@dataclass(frozen=True)
class Settings:
    """What the widgets say. model, data: a reference `package.module:name`, or a name as of `Recipe`. checkpoint: a file of
    weights; empty for a network that is trained first. dense, peak, epochs: how it was trained, or is. sparsity, budget:
    shares. seeds: how many orders of the batches."""

    model: str = SAMPLE
    data: str = "digits"
    checkpoint: str = ""
    dense: str = choice("cosine", DENSE_SCHEDULES, "dense schedule", reference=True)
    peak: float = number(0.1, what="peak learning rate", above=0)
    epochs: int = number(8, what="number of epochs", low=1)
    batch_size: int = number(64, what="batch size", low=2)
    sparsity: float = number(0.9, above=0, high=1)
    budget: float = number(0.25, what="budget (share of the dense run)", above=0, high=1)
    schedules: tuple[str, ...] = choice(NAMED_SCHEDULES, NAMED_SCHEDULES, "retraining schedule")
    seeds: int = number(3, what="number of seeds", low=1)

    def __post_init__(self) -> None:
        settle(self)
        if not self.schedules:
            raise BadInput("No schedule is chosen: tick at least one.")


@dataclass(frozen=True, eq=False)
class Taken:
    """The network that was taken in. of: the settings that named it. accuracy: on validation images before any prune."""

    of: Settings
    net: Own
    accuracy: float


def named(settings: Settings) -> Settings:
    """The settings with defaults for all that does not change the network before it is pruned."""
    plain = Settings()
    free = ("sparsity", "budget", "schedules", "seeds")
    return replace(settings, **{name: getattr(plain, name) for name in free})


def take_in(settings: Settings, device: str, watch: Watch) -> Taken:
    """The network of the settings, trained first if there is no checkpoint. Raises BadInput as `own` does."""
    s, data = settings, load(settings.data)
    parts = [(data.normalise(part.images), part.labels) for part in (data.train, data.validation, data.test)]
    rates, checkpoint = (s.dense, s.peak, s.epochs), s.checkpoint or None
    net = own(s.model, *parts, rates=rates, checkpoint=checkpoint, batch_size=s.batch_size, device=device)
    net, dense = net.measured(watch)
    accuracy = dense.result.scalars["validation_accuracy"]
    assert isinstance(accuracy, float)
    return Taken(named(s), net, accuracy)


def experiments(settings: Settings, taken: Taken) -> list[Experiment]:
    """The retrainings whose curves are drawn: one for each schedule, of the first seed."""
    recipe, prune = taken.net.past.recipe, Prune(settings.sparsity)
    return [Experiment(replace(recipe, seed=0), prune, Retrain(name, settings.budget)) for name in settings.schedules]


def pruned(taken: Taken | None, sparsity: float) -> View:
    """What each layer loses at a sparsity, by magnitude among all layers, and what may be pruned, in words."""
    layers = {} if taken is None else taken.net.shares(sparsity)
    shares, every = [100 * part for part in layers.values()], max(1, len(layers) // 8)
    ticks = list(enumerate(name.removesuffix(".weight") for name in layers))[::every]
    place = 100 * sparsity
    panel = chart.panel(
        [chart.bars(range(len(layers)), shares, 0.7, chart.BLUE), chart.level(place, f"all: {place:g} %", above=True)],
        x=(-0.6, max(1, len(layers)) - 0.4),
        y=(0, 104),
        xlabel="Layer",
        ylabel="Removed from it (%)",
        xticks=ticks,
    )
    alt = "An empty frame for what each layer loses: the network is not there yet."
    if taken is None:
        return View([chart.chart([panel], alt, height=280)], "")
    alt = f"What each layer loses: {', '.join(f'{name} {shares[i]:.0f} %' for i, name in ticks)}."
    words = f"{taken.net} Validation accuracy before any prune: {percent(taken.accuracy)}."
    return View([chart.chart([panel], alt, height=280)], words)


def code(settings: Settings) -> str:
    """The same as Python."""
    s = settings
    checkpoint = f"checkpoint={s.checkpoint!r}, " if s.checkpoint else ""
    return "\n".join(
        [
            "from retrainlab import own",
            "from retrainlab.data.dataset import load",
            "",
            f"data = load({s.data!r})",
            "parts = [(data.normalise(p.images), p.labels) for p in (data.train, data.validation, data.test)]",
            f"rates = ({s.dense!r}, {s.peak!r}, {s.epochs!r})",
            f"net = own({s.model!r}, *parts, {checkpoint}rates=rates, batch_size={s.batch_size})",
            f"answer = net.advise({s.sparsity!r}, {s.budget!r}, {list(s.schedules)!r}, {s.seeds}, keep=True)",
            "print(net, answer, sep='\\n')",
            "net.write(answer.weights(), 'sparse.safetensors')",
            "",
        ]
    )


def view(settings: Settings, taken: Taken | None, curves: Live, answer: Answer | None) -> View:
    """The retrainings as they stand: curves of the first seed, and the advice from all seeds once they have ended."""
    s = settings
    steps = 100 if taken is None else max(1, round(s.budget * len(taken.net.past.original.lr)))
    shown = [race.picture(curves, None if taken is None else taken.accuracy, steps)]
    if answer is None:
        return View(shown, "", None, "", code(s))
    [found] = answer.advice
    caption = f"{share(found.sparsity)} sparsity, budget {share(found.budget)}, seeds: {len(found.seeds)}"
    heads = (budget.HEADS[0], budget.VALIDATION[True], *budget.HEADS[2:])
    return View(shown, str(answer), (caption, heads, budget.rows(found)), budget.csv(found), code(s))
