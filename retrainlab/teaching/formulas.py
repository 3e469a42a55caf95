"""Each formula of the study: how it is written, where it comes from, and the line of code that computes it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrainlab import metrics, schedules, stats
from retrainlab.config import Prune
from retrainlab.paths import project


@dataclass(frozen=True)
class Line:
    """A line of code: the one line of `function` that holds `words`."""

    function: Callable
    words: str

    @property
    def place(self) -> str:
        """`retrainlab/schedules.py:207`. Raises ValueError unless exactly one line of the function holds the words."""
        lines, first = inspect.getsourcelines(self.function)
        found = [first + i for i, line in enumerate(lines) if self.words in line]
        if len(found) != 1:
            raise ValueError(f"{len(found)} lines of {self.function.__qualname__} hold '{self.words}'")
        path = Path(inspect.getsourcefile(self.function) or "").resolve()
        return f"{path.relative_to(project().resolve()).as_posix()}:{found[0]}"


@dataclass(frozen=True)
class Formula:
    """A formula in TeX. source: an anchor of docs/references.md, or empty for what has no single source."""

    name: str
    tex: str
    source: str
    lines: tuple[Line, ...]


def _one(name: str, tex: str, source: str, function: Callable, words: str) -> Formula:
    return Formula(name, tex, source, (Line(function, words),))


_TARGETS: Callable = vars(Prune)["targets"].fget
GROUPS: dict[str, tuple[Formula, ...]] = {
    "Schedules of retraining": (
        _one("FT", r"\eta_i = \eta_{\text{last}}", "han-2015", schedules.ft, "original.last"),
        _one("LRW", r"\eta_i = \eta^{\text{dense}}_{N - n + i}", "renda-2020", schedules.lrw, "original.lr[-n:]"),
        _one(
            "SLR",
            r"\eta_{w+j} = \eta^{\text{dense}}_{\lfloor j N / m \rfloor}",
            "le-2021",
            schedules.slr,
            "torch.arange(m) * len(curve)",
        ),
        Formula(
            "CLR",
            r"\eta_{w+j} = \eta_{\text{min}} + (\eta_{\text{max}} - \eta_{\text{min}}) \, \frac{1 + \cos (\pi j / m)}{2}",
            "le-2021",
            (Line(schedules.clr, "original.floor +"), Line(schedules.cosine, "torch.cos")),
        ),
        Formula(
            "LLR",
            r"\eta_{w+j} = \eta_{\text{max}} (1 - j / m)",
            "zimmer-2023",
            (Line(schedules.llr, "original.peak *"), Line(schedules.linear, "1 - _progress")),
        ),
        _one(
            "ALLR",
            r"\eta_{w+j} = d \, \eta_{\text{max}} (1 - j / m)",
            "zimmer-2023",
            schedules.allr,
            "d * original.peak",
        ),
        _one("warm-up", r"\eta_i = \eta_w \frac{i + 1}{w + 1}", "", schedules.ramp, "torch.arange(1, w + 1"),
    ),
    "ALLR's factor": (
        Formula(
            "damage",
            r"d_1 = \frac{\|W - W_p\|}{\|W\| \sqrt{s}}",
            "zimmer-2023",
            (Line(schedules.allr_factor, "math.sqrt(removed)"), Line(metrics.norm_drop, "math.sqrt(")),
        ),
        _one(
            "budget, and both",
            r"d_2 = \frac{T_{\text{rt}}}{T} , \, \, d = \min (\max (d_1, d_2), 1)",
            "zimmer-2023",
            schedules.allr_factor,
            "min(max(d1, budget), 1.0)",
        ),
    ),
    "Pruning and what is measured": (
        _one("share of a cycle", r"s = 1 - (1 - S)^{1/k}", "renda-2020", _TARGETS, "share = 1 -"),
        _one(
            "sparsity",
            r"S = \frac{\text{prunable weights that are 0}}{\text{prunable weights}}",
            "",
            metrics.sparsity,
            ") / total",
        ),
        _one(
            "stability",
            r"1 - \frac{a_{\text{dense}} - a_{\text{pruned}}}{a_{\text{dense}}}",
            "bartoldson-2020",
            metrics.stability,
            "return 1 -",
        ),
        _one(
            "recovery",
            r"\frac{a_{\text{retrained}} - a_{\text{pruned}}}{a_{\text{dense}} - a_{\text{pruned}}}",
            "",
            metrics.recovery,
            "regained / lost",
        ),
        _one(
            "speed-up in theory",
            r"\frac{\text{multiply-adds, all}}{\text{multiply-adds, weight not 0}}",
            "blalock-2020",
            metrics.theoretical_speedup,
            "dense / nonzero",
        ),
    ),
    "How sure": (
        _one(
            "paired interval",
            r"\bar{x} \pm t_{R-1, \, 0.975} \frac{\sigma}{\sqrt{R}}",
            "",
            stats.interval,
            "half = float(stdtrit",
        ),
        _one(
            "paired t-test",
            r"p = 2 \, F_{R-1} (- \frac{| \bar{x} | \sqrt{R}}{\sigma})",
            "",
            stats.p_value,
            "2 * stdtr(",
        ),
        _one(
            "Holm's correction",
            r"q_{(i)} = \min (1, \max_{j \le i} (M - j + 1) \, p_{(j)})",
            "holm-1979",
            stats.holm,
            "np.maximum.accumulate",
        ),
    ),
}
SYMBOLS: tuple[tuple[str, str], ...] = (
    (r"\eta_i", "learning rate of step i = 0, ..., n - 1 of the retraining"),
    (r"\eta^{\text{dense}}_i", "the same of the dense run's N steps (for SLR with the peak for its warm-up)"),
    (
        r"\eta_{\text{max}}, \eta_{\text{min}}, \eta_{\text{last}}",
        "largest and smallest value of it after its warm-up; last value",
    ),
    (r"w, m, j", "steps of the warm-up, a tenth of n; the others, m = n - w; j = 0, ..., m - 1 counts them"),
    (r"W, W_p, s", "prunable weights before and after a prune; the share of them that it removes"),
    (r"S, k", "sparsity in the end; number of cycles"),
    (r"T_{\text{rt}}, T", "epochs of a cycle's retraining, and of the dense run; their ratio is the budget"),
    (r"a", "accuracy: dense, straight after the prune, after retraining"),
    (r"\bar{x}, \sigma, R", "mean and standard deviation of R seeds' paired differences"),
    (r"t, F", "Student's quantile and distribution function, with R - 1 degrees of freedom"),
    (r"p_{(i)}, q_{(i)}, M", "the i-th smallest of M p-values; the same after correction"),
)
"""What stands in the formulas, in TeX, and what it means."""
