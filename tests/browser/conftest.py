"""One JupyterLab and one browser for all tests of this folder; they are closed before any other test runs, since
Playwright's loop would be in the way of others. A failing test leaves a picture in failures/."""

from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

from .lab import HOW, Lab, Server, find_browser, launch

FAILURES = Path(__file__).parent / "failures"


@pytest.fixture(scope="package")
def browser():
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip(HOW)
        browser = launch(playwright, path)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(browser, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("jupyter"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="package")
def lab(browser, server):
    """The page that all tests share."""
    lab = Lab(browser, server)
    yield lab
    lab.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        FAILURES.mkdir(exist_ok=True)
        try:
            lab.page.screenshot(path=FAILURES / f"{item.name}.png", timeout=10_000)
        except Error as error:  # the page is gone: the test's own error matters more
            report.sections.append(("screenshot", str(error)))
    return report
