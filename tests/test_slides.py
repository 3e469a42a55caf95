"""The slides: one file that loads nothing, sentences that agree with the figures, and pages that a browser shows whole."""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from retrainlab import figures, slides
from retrainlab.cli import main
from retrainlab.errors import BadInput

pytestmark = pytest.mark.xdist_group("browser")  # one process makes the deck once

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "figures" / "digits"
NOTEBOOK = ROOT / "notebooks" / f"{slides.NAME}.ipynb"
VENDOR = ROOT / "retrainlab" / "vendor" / "reveal"
CHROMIUM = next((path for name in slides.BROWSERS if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium, Chrome or Edge is on the path")
LOADING = {"src", "srcset", "href", "xlink:href", "data", "poster", "background", "action", "formaction"}
VOID = {"meta", "link", "img", "br", "hr", "col"}


class Page(HTMLParser):
    """What of an HTML text a browser would load, and what it shows."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.loads, self.images, self.css, self.text, self.notes = [], [], "", "", ""
        self.open: list[str] = []
        self.tags: Counter = Counter()
        self.slides = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] += 1
        self.loads += [(tag, value) for name, value in attributes.items() if name in LOADING]
        self.css += attributes.get("style") or ""
        if tag == "img":
            self.images.append(attributes)
        if tag in VOID:
            return
        self.slides += tag == "section" and self.open[-1] == "section"
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag, "well-formed"

    def handle_data(self, data):
        if "style" in self.open:
            self.css += data
        elif "aside" in self.open:
            self.notes += data
        elif "script" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Path]:
    return slides.make(str(tmp_path_factory.mktemp("slides")))


@pytest.fixture(scope="module")
def page(made) -> Page:
    return Page(made[0].read_text(encoding="utf-8"))


def planned() -> int:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return sum(c.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide") for c in cells)


def sentences(name: str, folder: Path = DIGITS) -> str:
    return " ".join(slides.Deck("digits", str(folder)).show(name).sentences)


def alt(name: str) -> str:
    return json.loads((DIGITS / f"{name}.json").read_text())["alt"]


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_html_loads_nothing(page):
    assert all(value.startswith(("data:", "#")) for _, value in page.loads), [
        t for t, v in page.loads if v[:5] != "data:"
    ]
    assert page.tags["link"] == page.tags["iframe"] == page.tags["object"] == 0
    assert "@import" not in page.css
    assert all(u.strip("'\" ").startswith("data:") for u in re.findall(r"url\(([^)]*)", page.css))
    scripts = [v for t, v in page.loads if t == "script"]
    assert not scripts and page.tags["script"] == 3, "reveal.js, its notes and what starts them"


def test_every_slide_and_every_figure_is_there(page):
    assert page.slides == planned() and 12 <= page.slides <= 16
    assert [image["alt"] for image in page.images] == [alt(name) for name in figures.available()]
    for name in figures.available():
        assert json.loads((DIGITS / f"{name}.json").read_text())["caption"] in page.text
    assert list(slides.SENTENCES) == list(figures.available())


def test_code_is_hidden_and_notes_are_apart(page):
    assert "deck.show" not in page.text and "import" not in page.text and "preset:" not in page.text
    assert len(page.notes) > 2000 and "Ask before going on" in page.notes and "Ask before going on" not in page.text


def test_links_to_notebooks_became_their_names(page):
    assert "notebooks/start_here.ipynb" in page.text and ".ipynb](" not in page.text
    assert page.tags["a"] == 0


def test_what_is_vendored_says_its_version_and_licence():
    [version] = re.findall(r"reveal\.js (\d+\.\d+\.\d+)", (VENDOR / "README.md").read_text())
    assert f"`{version}`" in (VENDOR / "reveal.js").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in (VENDOR / "LICENSE").read_text()


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_sentences_agree_with_the_alternative_texts():
    """The alternative texts are written with the figures, from the runs; the sentences are read from the tables."""
    factors = set(re.findall(r"(\d\.\d\d) at a budget", alt("fig01_schedules")))
    assert factors == set(re.findall(r"\d\.\d\d(?= at)", sentences("fig01_schedules")))
    last = re.findall(r"([A-Z]+) (\d+\.\d) %", alt("fig02_recovery").split("steps: ")[1])
    assert len(last) == 6 and all(f"{s} {a}" in sentences("fig02_recovery") for s, a in last)
    counts = re.findall(r"([A-Z]+) better in (\d+) and worse in (\d+) of (\d+)", alt("fig03_budgets"))
    better, worse = (sentences("fig03_budgets").split("Shown better: ")[i].split(". Sparsity")[0] for i in (1, 0))
    assert len(counts) == 5
    for schedule, up, down, cells in counts:
        assert (f"{schedule} in {up}" in better) or up == "0" and not re.search(rf"\b{schedule} in", better)
        assert (f" {schedule} in {down}" in worse) or down == "0" and not re.search(rf"\b{schedule} in", worse)
        assert f"of {cells} cells" in worse
    low, _, mean = re.findall(r"[+-]\d+\.\d", alt("fig04_best_lr"))
    assert f"{low} points" in sentences("fig04_best_lr") and f"{mean} points on average" in sentences("fig04_best_lr")
    better, worse, undecided, all_ = re.findall(r"(\d+)", alt("fig05_contest").split("better in")[1])
    said = sentences("fig05_contest")
    named = [sum(len(s.split(",")) for s in re.findall(r"\(([^)]*)\)", p)) for p in said.split("Shown worse")]
    assert named == [int(better), int(worse)] and f"Undecided: {undecided} of {all_}" in said
    highest = re.findall(r"it is ([\d.]+ %) dense with (\d+ cycles?), ([\d.]+ %)", alt("fig06_split"))
    assert len(highest) == 2
    assert all(f"highest mean at {d} dense, {c}: {a}" in sentences("fig06_split") for d, c, a in highest)
    raw = re.findall(r"[+-]\d\.\d\d", alt("fig07_stability"))[:3]
    assert raw == re.findall(r"[+-]\d\.\d\d", sentences("fig07_stability"))
    longest = re.findall(r"(one-shot|iterative, 3 cycles|longer dense, one-shot) (\d+\.\d) %", alt("fig08_lengths"))
    assert len(longest) == 6 and all(f"{what} {a}" in sentences("fig08_lengths") for what, a in longest)
    ways = re.findall(r"([a-z]+) (\d+\.\d) %", alt("fig09_where").split("Right")[0])
    assert len(ways) == 5 and all(f"{way} {a}" in sentences("fig09_where") for way, a in ways)


def test_sentences_follow_the_tables(tmp_path):
    shutil.copytree(DIGITS, tmp_path, dirs_exist_ok=True)
    table = tmp_path / "fig03_budgets.csv"
    table.write_text(re.sub(r"^(.*,ALLR,.*,)\w+$", r"\1better", table.read_text(), flags=re.M))
    assert "Shown better: ALLR in 20" in sentences("fig03_budgets", tmp_path)
    table.write_text(re.sub(r"(better|worse)$", "undecided", table.read_text(), flags=re.M))
    assert "cells: none. Shown better: none." in sentences("fig03_budgets", tmp_path)


def test_a_figure_escapes_its_words():
    shown = slides.Deck("digits").show("fig01_schedules")
    shown = replace(shown, picture=replace(shown.picture, alt='"<x>"'), sentences=["1 < 2"])
    assert 'alt="&quot;&lt;x&gt;&quot;"' in shown._repr_html_() and "1 &lt; 2" in shown._repr_html_()


# ---- what is refused, and what is done without -----------------------------------------------------------------------


def test_mistakes_are_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        slides.make(str(tmp_path / "out"), preset="digit")
    with pytest.raises(BadInput, match="figures --preset fashion-mnist"):
        slides.make(str(tmp_path / "out"), preset="fashion-mnist")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        slides.make(str(tmp_path / "file" / "out"))
    assert not (tmp_path / "out").exists()
    assert main(["slides", "--preset", "digit"]) == 2 and "did you mean 'digits'" in capsys.readouterr().err


def test_the_command_passes_its_options_on(monkeypatch):
    calls = []
    monkeypatch.setattr(slides, "make", lambda *given, **named: calls.append((given, named)))
    assert main(["slides"]) == main(["slides", "--preset", "smoke", "--output", "here", "--no-pdf"]) == 0
    assert calls == [(("", "digits"), {"pdf": True}), (("here", "smoke"), {"pdf": False})]


@pytest.mark.parametrize("browser", [None, "a browser that fails"])
def test_without_a_browser_the_html_is_made_and_a_sentence_says_what_is_not(browser, tmp_path, monkeypatch, capsys):
    cells = [nbformat.v4.new_markdown_cell("# One", metadata={"slideshow": {"slide_type": "slide"}})]
    monkeypatch.setattr(slides, "_executed", lambda preset: nbformat.v4.new_notebook(cells=cells))
    monkeypatch.setattr(slides.shutil, "which", lambda name: browser and shutil.sys.executable)
    assert [p.name for p in slides.make(str(tmp_path))] == [f"{slides.NAME}.html"]
    out = capsys.readouterr().out
    assert "The PDF was left out: " in out and "apt install chromium" in out and "?print-pdf" in out
    assert [p.name for p in tmp_path.iterdir()] == [f"{slides.NAME}.html"], "nothing else is left behind"
    slides.make(str(tmp_path), pdf=False)
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "error, words",
    [
        (subprocess.CalledProcessError(3, "browser"), "ended with exit code 3"),
        (subprocess.TimeoutExpired("browser", 120), "had not printed after 120 s"),
        (OSError(28, "No space left on device", "deck.pdf"), "deck.pdf: No space left on device"),
    ],
)
def test_why_nothing_was_printed_is_told(error, words, tmp_path, monkeypatch):
    """Pitfall: a full disk is told as a browser that does not print."""

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(slides.shutil, "which", lambda name: "browser")
    monkeypatch.setattr(slides.subprocess, "run", fail)
    with pytest.raises(slides._NoPrint, match=words):
        slides._print("<p>", tmp_path / "deck.pdf")
    assert not list(tmp_path.iterdir())


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(made):
    if CHROMIUM is None:
        pytest.skip("no Chromium, Chrome or Edge is on the path")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        context.set_offline(True)
        tab = context.new_page()
        tab.troubles = []
        tab.on("console", lambda m: tab.troubles.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
        tab.on("request", lambda r: r.url.startswith(("file:", "data:")) or tab.troubles.append(r.url[:200]))
        tab.goto(made[0].as_uri())
        tab.wait_for_function("Reveal.isReady()")
        yield tab
        browser.close()


OVERFLOW = """() => {
  const slide = Reveal.getCurrentSlide(), frame = slide.getBoundingClientRect();
  return [...slide.querySelectorAll("*")].filter(e => !e.closest("aside")).filter(e => {
    const box = e.getBoundingClientRect();
    return box.right > frame.right + 1 || box.bottom > frame.top + 721 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth;
  }).map(e => e.tagName + " " + e.textContent.slice(0, 60));
}"""


@needs_browser
def test_the_keyboard_leads_through_all_slides_and_nothing_overflows(tab):
    from axe_playwright_python.sync_playwright import Axe

    total, seen, violations = tab.evaluate("Reveal.getTotalSlides()"), set(), []
    assert total == planned()
    for _ in range(3 * total):
        place = tab.evaluate("Reveal.getSlidePastCount()")
        if place not in seen:
            seen.add(place)
            assert tab.evaluate(OVERFLOW) == [], place
            small = "e => e.naturalWidth > 0 && e.clientHeight > 330"
            assert tab.evaluate(f"[...Reveal.getCurrentSlide().querySelectorAll('img')].every({small})"), place
        if tab.evaluate("Reveal.isLastSlide()") and not tab.evaluate("Reveal.availableFragments().next"):
            break
        tab.keyboard.press("Space")
    assert seen == set(range(total))
    for place in ("#/0", "#/2", "#/4", f"#/{tab.evaluate('Reveal.getHorizontalSlides().length') - 1}"):
        tab.evaluate(f"location.hash = '{place}'")
        tab.wait_for_timeout(50)
        violations += [(place, v["id"], v["impact"]) for v in Axe().run(tab).response["violations"]]
    assert [v for v in violations if v[2] in ("serious", "critical")] == []
    assert tab.troubles == []


@needs_browser
def test_the_pdf_has_a_page_for_each_slide(made):
    assert [path.suffix for path in made] == [".html", ".pdf"]
    pdf = made[1].read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == planned()
    assert b"/MediaBox [0 0 960 540]" in pdf and len(pdf) > 500_000, "16:9, with the pictures"
