"""What tests of several figures share."""

import numpy as np
import pandas as pd
import pytest

from retrainlab.figures import style


@pytest.fixture
def frame() -> pd.DataFrame:
    """Made-up results of a small grid: 3 seeds, 2 sparsities, 3 budgets, all schedules."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "seed": s,
            "sparsity": p,
            "budget": b,
            "schedule": name,
            "test_accuracy": 0.9 - p / 5 + b / 9 + generator.normal(0, 0.01),
        }
        for s in range(3)
        for p in (0.8, 0.9)
        for b in (0.05, 0.1, 0.5)
        for name in style.SCHEDULES
    ]
    return pd.DataFrame(rows).assign(device="cpu, 2 cores", key="0123456789abcdef")
