"""Every notebook with an explorer: it opens, runs, shows a picture that has words, and serves people who do not see
it well or have no mouse: axe in both themes, and every control by Tab."""

import pytest

from .lab import NOTEBOOKS

pytestmark = pytest.mark.xdist_group("browser")
STAY = ("explore_race", "explore_schedules")  # other tests use them next


@pytest.mark.parametrize("name", ["start_here", *sorted(path.stem for path in NOTEBOOKS.glob("explore_*.ipynb"))])
def test_it_opens_runs_and_is_for_everybody(lab, name):
    lab.open(name)
    lab.run_all()
    app = lab.app()
    app.chart().wait_for()
    assert len(app.label()) > 40
    assert lab.complaints() == []
    assert app.violations() == []
    with lab.dark():
        assert app.violations() == []
    reached, controls = app.tab_round()
    assert [control for control in controls if control not in reached] == [] and all(controls)
    if name not in STAY:
        lab.end_kernel()
