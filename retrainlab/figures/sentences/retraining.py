"""What the tables of figures 1 to 4 say."""

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, accuracies, after_holm, average, found, too_few
from retrainlab.phrases import percent, share


def starts(table: pd.DataFrame) -> tuple[float, float, pd.Series]:
    """Figure 1's largest and last learning rate of the dense run, and by budget where ALLR starts as a share of LLR's."""
    dense = table[table["panel"] == "dense"]
    highest = table[table["panel"] != "dense"].groupby(["panel", "schedule"], sort=False)["lr"].max().unstack()
    return dense["lr"].max(), dense["lr"].iloc[-1], highest["ALLR"] / highest["LLR"]


def schedules(table: pd.DataFrame) -> Said:
    """What figure 1 says of the learning rates."""
    dense = table[table["panel"] == "dense"]
    epochs = dense["epoch"].max() * len(dense) / max(1, len(dense) - 1)
    top, last, shares = starts(table)
    factors = shares.map("{:.2f}".format)
    d = ", ".join(f"{factor} at a budget of {share(float(budget))}" for budget, factor in factors.items())
    same = f"{factors.iloc[0]} at every budget here"
    return (
        f"Learning rate against epoch. First panel: the dense run, from {top:g} to {last:g} over {epochs:.0f} epochs. The "
        f"other panels, one per budget ({', '.join(share(float(b)) for b in factors.index)}): FT is level at {last:g}; "
        f"LRW is the dense run's end; SLR, CLR and LLR rise to {top:g} in a tenth of the budget and come down in steps, as "
        f"a cosine and as a line to 0; ALLR is a line to 0 from a lower start, with d = {d}.",
        "",
        (
            f"The dense run goes from {top:g} to {last:g}; FT stays at {last:g}.",
            f"SLR, CLR and LLR rise to {top:g} again, however short the budget.",
            f"ALLR starts at d times that: d is {same if factors.nunique() == 1 else d}.",
        ),
    )


def levels(table: pd.DataFrame) -> tuple[float, float]:
    """Figure 2's validation accuracies before and straight after the prune."""
    return table["dense"].iloc[0], table.loc[table["step"] == 0, "validation_accuracy"].iloc[0]


def recovery(table: pd.DataFrame) -> Said:
    """What figure 2 says of the accuracy before, straight after and long after the prune."""
    dense, pruned = map(percent, levels(table))
    steps = int(table["step"].max())
    last = table[table["step"] == steps]
    final = accuracies(last["schedule"], last["validation_accuracy"])
    return (
        f"Validation accuracy against retraining step for {len(last)} schedules, above their learning rates. Pruning takes "
        f"the network from {dense} to {pruned}. After {steps} steps: {final}.",
        "",
        (
            f"Straight after the prune: {pruned} of the validation images.",
            f"{steps} steps later: {final}.",
            "One network, one seed: a point or two may be luck. Figure 3 has more seeds.",
        ),
    )


def baseline(table: pd.DataFrame) -> str:
    """The schedule that figure 3's differences are to."""
    [name] = set(table["schedule"]) - set(table.loc[table["verdict"].notna(), "schedule"])
    return name


def budgets(table: pd.DataFrame) -> Said:
    """What figure 3 says of each schedule against the baseline."""
    name = baseline(table)
    corner = table[(table["sparsity"] == table["sparsity"].max()) & (table["budget"] == table["budget"].min())]
    hardest, shortest = share(corner["sparsity"].iloc[0]), share(corner["budget"].iloc[0])
    there = accuracies(corner["schedule"], corner["mean"])
    averages = table[table["verdict"].notna()].drop_duplicates("schedule")
    counted = (
        f"Worse than {name}, of the cells: {found(table, 'verdict', 'worse')}; better: "
        f"{found(table, 'verdict', 'better')} (the interval excludes 0); {after_holm(table)}, worse: "
        f"{found(table, 'corrected', 'worse')}; better: {found(table, 'corrected', 'better')}"
    )
    counted, twins = FEW.capitalize() if too_few(table) else counted, _same_runs(table)
    means = f"On average over all cells, less {name}, in points: {'; '.join(map(average, averages.itertuples()))}"
    return (
        f"Test accuracy against retraining budget, one panel per sparsity, one line per schedule; the dense network has "
        f"{percent(table['dense'].iloc[0])}. At sparsity {hardest} and budget {shortest}: {there}. {counted}.{twins} "
        f"{means}.",
        f"{counted}.{twins} {means} (corrected for {len(averages)} comparisons).",
        (f"{counted}.", f"{means}.", f"Sparsity {hardest}, budget {shortest}: {there}."),
    )


def _same_runs(table: pd.DataFrame) -> str:
    """Which schedules are one run under two names, as a sentence with a space before it; empty if none are."""
    cells = table[table["verdict"].notna()].groupby("schedule").size()
    twins = table.dropna(subset=["same_as"]).groupby(["schedule", "same_as"], sort=False).size()
    said = [f"{name} is the same run as {other} in {n} of {cells[name]} cells" for (name, other), n in twins.items()]
    return f" {' and '.join(said)}, counted once." if said else ""


def gain(cells: pd.DataFrame) -> pd.Series:
    """Figure 4's differences in points: ALLR's test accuracy less that of the best start."""
    return (100 * (cells["allr_accuracy"] - cells["best_accuracy"])).round(6)  # without the noise of float sums


def best_lr(table: pd.DataFrame) -> Said:
    """What figure 4 says of the best start and of ALLR's."""
    points = gain(table)
    low, high = table.loc[table["best_lr"].idxmin()], table.loc[table["best_lr"].idxmax()]

    def where(row: pd.Series) -> str:
        return f"sparsity {share(row['sparsity'])} and budget {share(row['budget'])}"

    average = f"{points.mean():+.1f}"
    out = ["ALLR's or the best start's runs all diverged."]
    if points.notna().any():
        worst = table.loc[points.idxmin()]
        out = [
            f"ALLR's test accuracy less that of the best start: {average} points on average, within half a point in "
            f"{(points.abs() <= 0.5).sum()} of {len(table)} cells.",
            f"Furthest off at {where(worst)}: {points.min():+.1f} points; "
            f"there {worst['best_lr']:g} is best, ALLR starts at {worst['allr_lr']:.2g}.",
        ]
    return (
        f"Two maps over sparsity and budget. Left: the best initial learning rate, from {low['best_lr']:g} at {where(low)} "
        f"to {high['best_lr']:g} at {where(high)}; ALLR starts between {table['allr_lr'].min():.3g} and "
        f"{table['allr_lr'].max():.3g}. Right: ALLR's test accuracy minus that of the best start, from {points.min():+.1f} "
        f"to {points.max():+.1f} percentage points, {average} on average.",
        "",
        tuple(out),
    )
