"""One explorer of a kind is shown at a time."""

import threading
from collections.abc import Callable, Hashable

import ipywidgets as widgets
from IPython.display import display

# ---- one explorer of a kind ------------------------------------------------------------------------------------------

_shown: dict[str, tuple[Hashable, object]] = {}
_showing = threading.Lock()


def present(name: str, settings: Hashable, make: Callable[[], object]) -> object:
    """Display the explorer of that name, and return it. A cell that runs again with the same settings shows the same
    explorer as it is, whatever it is doing; with others it stops and closes the one before."""
    with _showing:
        before, explorer = _shown.get(name, (None, None))
        if explorer is None or before != settings:
            if explorer is not None:
                del _shown[name]  # it is gone even if the next cannot be made
                explorer.close()
            explorer = make()
            _shown[name] = settings, explorer
    display(explorer.box)
    return explorer


def close(box: widgets.Widget) -> None:
    """Close a widget and all that it holds, so that neither kernel nor page keeps them."""
    for child in getattr(box, "children", ()):
        close(child)
    for own in (getattr(box, "layout", None), getattr(box, "style", None)):
        if own is not None:
            own.close()
    box.close()
