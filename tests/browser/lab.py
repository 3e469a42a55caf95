"""JupyterLab in a browser, for tests and benchmarks: `Server` serves notebooks, `Lab` is the page, `App` an explorer on it.

Nothing of the user's own is read or written: the server works on copies, with folders of its own for all that it keeps.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
HOW = (
    "No browser was found: install one (`apt-get install chromium`, or `python -m playwright install chromium`), or name "
    "one in RETRAINLAB_BROWSER."
)
SLOW = 60_000  # milliseconds that a busy machine may take for what takes some seconds


# ---- the browser and the server --------------------------------------------------------------------------------------


def find_browser(playwright: Playwright) -> str | None:
    """RETRAINLAB_BROWSER, or one on PATH, or Playwright's own; None if there is none."""
    named = os.environ.get("RETRAINLAB_BROWSER")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((p for p in (named, *found, playwright.chromium.executable_path) if p and Path(p).exists()), None)


def launch(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


class Server:
    """JupyterLab on loopback over copies of the notebooks; `store` is where the explorers keep results."""

    def __init__(self, folder: Path, store: Path | None = None):
        self.folder, self.store, self.token = folder, store or folder / "store", secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen | None = None

    def start(self) -> "Server":
        root = self.folder / "notebooks"
        shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns(".*"))
        quiet = self.folder / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        own = {"HOME": "home", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
        own |= {"JUPYTER_RUNTIME_DIR": "runtime", "XDG_CACHE_HOME": "cache"}
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
        command += [f"--port={self.address.rpartition(':')[2]}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={root}"]
        command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
        environment = os.environ | {name: str(self.folder / place) for name, place in own.items()}
        for place in own.values():
            (self.folder / place).mkdir(exist_ok=True)
        with open(self.folder / "server.log", "w") as log:
            self._process = subprocess.Popen(
                command, env=environment | {"RETRAINLAB_STORE": str(self.store)}, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + SLOW / 1000
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/api/status?token={self.token}", timeout=5):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


# ---- the page --------------------------------------------------------------------------------------------------------

_CURRENT = "const panel = window.jupyterapp.shell.currentWidget, kernel = panel.sessionContext.session?.kernel;"


class Lab:
    """A page of JupyterLab. What it says of a notebook is about the one in the front tab."""

    def __init__(self, browser: Browser, server: Server):
        # tall, since JupyterLab takes cells that are out of sight off the page
        self.context = browser.new_context(viewport={"width": 1400, "height": 1900}, accept_downloads=True)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.address)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.page.goto(f"{server.address}/lab?reset&token={server.token}")
        self.page.wait_for_function("window.jupyterapp?.started")
        self.page.evaluate("window.jupyterapp.started")
        self.page.evaluate("window.jupyterapp.shell.collapseLeft()")

    def command(self, name: str, **arguments: object) -> None:
        """A command of JupyterLab; comes back when it is done."""
        self.page.evaluate(
            "async ([name, arguments_]) => { await window.jupyterapp.commands.execute(name, arguments_); }",
            [name, arguments],
        )

    def open(self, notebook: str) -> None:
        """Open a notebook, or bring it to the front, and wait for its kernel."""
        self.command("docmanager:open", path=f"{notebook}.ipynb")
        self.page.wait_for_function(
            f"path => {{ {_CURRENT} return panel?.context?.path === path && kernel }}", arg=f"{notebook}.ipynb"
        )
        self.wait_for_idle()

    def show(self, notebook: str, name: str) -> "App":
        """The explorer of a notebook, which is opened and run unless it was before."""
        self.open(notebook)
        app = self.app(name)
        if not app.root.count():
            self.run_all()
            app.chart().wait_for()
        return app

    def run_all(self) -> None:
        """Run all cells; comes back when they have ended, which a race in the background need not."""
        self.command("notebook:run-all-cells")

    def wait_for_idle(self) -> None:
        self.page.wait_for_function(f"() => {{ {_CURRENT} return kernel.status === 'idle' }}")

    def execute(self, code: str) -> str:
        """What the code prints in the notebook's kernel, or RuntimeError with its error."""
        answer = self.page.evaluate(
            f"""async code => {{ {_CURRENT}
              const future = kernel.requestExecute({{ code, store_history: false }}), said = [];
              future.onIOPub = ({{ content }}) => said.push(content.text ?? "");
              const {{ content }} = await future.done;
              return [said.join(""), content.status === "ok" ? null : `${{content.ename}}: ${{content.evalue}}`]; }}""",
            code,
        )
        if answer[1] is not None:
            raise RuntimeError(answer[1])
        return answer[0]

    def occupy(self, seconds: float) -> None:
        """Let the kernel be busy with a cell for so long; comes back at once."""
        code = f"import time; time.sleep({seconds})"
        self.page.evaluate(
            f"code => {{ {_CURRENT} window.busy = true;"
            "kernel.requestExecute({ code, store_history: false }).done.then(() => { window.busy = false; }); }",
            code,
        )

    @property
    def busy(self) -> bool:
        """Whether the cell of `occupy` still runs."""
        return self.page.evaluate("window.busy")

    def complaints(self) -> list[str]:
        """What the cells' outputs hold of errors and of words on stderr."""
        return self.page.evaluate(
            f"""() => {{ {_CURRENT}
              return Array.from(panel.content.model.cells).filter((cell) => cell.type === "code")
                .flatMap((cell) => cell.outputs.toJSON())
                .filter((o) => o.output_type === "error" || o.name === "stderr")
                .map((o) => o.evalue ?? [o.text].flat().join("")); }}"""
        )

    def cells(self) -> list[str]:
        """The kinds of the cells."""
        return self.page.evaluate(
            f"() => {{ {_CURRENT} return Array.from(panel.content.model.cells).map((cell) => cell.type); }}"
        )

    def theme(self, name: str) -> None:
        """Light or Dark."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        expect(self.page.locator(f"body[data-jp-theme-name='JupyterLab {name}']")).to_be_attached()

    @contextmanager
    def dark(self) -> Iterator[None]:
        self.theme("Dark")
        try:
            yield
        finally:
            self.theme("Light")

    def app(self, name: str = "") -> "App":
        """The explorer of that name, or the only one, in the front tab."""
        return App(self.page, name)

    def end_kernel(self) -> None:
        """Shut the kernel down and close the tab."""
        self.page.evaluate(f"async () => {{ {_CURRENT} await panel.sessionContext.shutdown(); panel.dispose(); }}")

    def close(self) -> None:
        self.context.close()


class App:
    """An explorer on the page: its controls by the names that people see, its charts, what it says."""

    def __init__(self, page: Page, name: str):
        self.page, self.selector = page, f".retrainlab-{name}" if name else ".retrainlab"
        self.root = page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {self.selector}")

    def chart(self, place: int = 0) -> Locator:
        return self.root.locator("svg.retrainlab-chart").nth(place)

    def label(self, place: int = 0) -> str:
        """A chart's alternative text."""
        return self.chart(place).get_attribute("aria-label") or ""

    def slider(self, label: str) -> Locator:
        """The handle of the slider beside that number box."""
        return self.root.get_by_role("slider", name=f"{label}, slider", exact=True)

    def box(self, label: str) -> Locator:
        return self.root.get_by_role("spinbutton", name=label, exact=True)

    def set(self, label: str, value: float) -> None:
        """Type a number."""
        self.box(label).fill(str(value))
        self.box(label).press("Tab")

    def choose(self, label: str, option: str) -> None:
        self.root.get_by_label(label, exact=True).select_option(label=option)

    def button(self, words: str) -> Locator:
        return self.root.get_by_role("button", name=words, exact=True)

    def status(self, text: str | re.Pattern = "") -> Locator:
        """The status lines that hold the text."""
        return self.root.get_by_role("status").filter(has_text=text)

    def says(self, text: str | re.Pattern, seconds: float = SLOW / 1000) -> None:
        """Wait until a status line holds the text."""
        expect(self.status(text).first).to_be_visible(timeout=1000 * seconds)

    def rows(self) -> list[list[str]]:
        """The first table's body."""
        return self.root.locator("table").first.evaluate(
            "t => [...t.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent))"
        )

    def press(self, label: str, key: str, place: int = 0, seconds: float = SLOW / 1000) -> str:
        """Press a key on a slider's handle and wait until the chart tells other numbers, which are returned."""
        before = self.label(place)
        self.slider(label).press(key)
        expect(self.chart(place)).not_to_have_attribute("aria-label", before, timeout=1000 * seconds)
        return self.label(place)

    def watch(self, place: int = 0) -> None:
        """Note all that the chart tells from now on, for `seen`."""
        self.chart(place).evaluate(
            """svg => { const seen = window.seen = [svg.getAttribute("aria-label")];
              const look = () => { const now = svg.getAttribute("aria-label"); if (now !== seen.at(-1)) seen.push(now); };
              window.look?.disconnect();
              (window.look = new MutationObserver(look)).observe(svg, { attributes: true }); }"""
        )

    def seen(self) -> list[str]:
        return self.page.evaluate("window.seen")

    def places(self) -> list[list[int]]:
        """Where charts, buttons and tables are, from the explorer's top left: x and y in pixels."""
        return self.root.evaluate(
            """root => [...root.querySelectorAll("svg.retrainlab-chart, button, table")].map((part) => {
              const a = part.getBoundingClientRect(), b = root.getBoundingClientRect();
              return [a.x - b.x, a.y - b.y].map(Math.round); })"""
        )

    def violations(self) -> list[str]:
        """What axe finds serious or critical within the explorer."""
        expect(self.root.locator(".noUi-handle:not([aria-label])")).to_have_count(0)  # they get theirs a moment later
        found = Axe().run(self.page, context=f".jp-NotebookPanel:not(.lm-mod-hidden) {self.selector}").response
        return [
            f"{v['id']}: {v['help']}: {', '.join(n['html'][:150] for n in v['nodes'][:3])}"
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]

    def tab_round(self) -> tuple[list[str], list[str]]:
        """The names of what Tab reaches from the first control on, and of all that can be used throughout."""
        name = "node => node.getAttribute('aria-label') || node.labels?.[0]?.textContent || node.textContent"
        inside = f"document.activeElement.closest('{self.selector}') !== null"
        controls = self.root.locator(
            "input:enabled:visible, select:enabled:visible, button:enabled:visible, .noUi-handle:visible, "
            "svg [role=slider]:visible"
        )
        before, reached = controls.evaluate_all(f"nodes => nodes.map({name})"), []
        controls.first.focus()
        while self.page.evaluate(inside) and len(reached) < 2 * len(before):
            reached.append(self.page.evaluate(f"({name})(document.activeElement)"))
            self.page.keyboard.press("Tab")
        after = controls.evaluate_all(f"nodes => nodes.map({name})")
        return reached, [control for control in before if control in after]
