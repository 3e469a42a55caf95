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

from retrainlab import references, stats
from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.figures import presets, printing, sentences, slides
from tests.helpers import made_figures

pytestmark = pytest.mark.xdist_group("browser")  # one process makes the deck once

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{slides.NAME}.ipynb"
VENDOR = ROOT / "retrainlab" / "figures" / "vendor" / "reveal"
CHROMIUM = next((path for name in printing.BROWSERS if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium, Chrome or Edge is on the path")
LOADING = {"src", "srcset", "href", "xlink:href", "data", "poster", "background", "action", "formaction"}
VOID = {"meta", "link", "img", "br", "hr", "col"}


class Page(HTMLParser):
    """What of an HTML text a browser would load, and what it shows."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.loads, self.links, self.images, self.css, self.text, self.notes = [], [], [], "", "", ""
        self.open: list[str] = []
        self.tags: Counter = Counter()
        self.slides = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] += 1
        if tag == "a":
            self.links.append(attributes["href"])
        else:
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
def folder(tmp_path_factory) -> Path:
    """Figures of these tests' own."""
    made = tmp_path_factory.mktemp("figures")
    made_figures.fill(made)
    return made


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> list[Path]:
    return slides.make(str(tmp_path_factory.mktemp("slides")), figures=str(folder))


@pytest.fixture(scope="module")
def page(made) -> Page:
    return Page(made[0].read_text(encoding="utf-8"))


def planned() -> int:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return sum(c.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide") for c in cells)


def about(name: str, folder: Path) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


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


def test_every_slide_and_every_figure_is_there(page, folder):
    assert page.slides == planned() and 12 <= page.slides <= 24
    assert [image["alt"] for image in page.images] == [about(name, folder)["alt"] for name in sentences.FIGURES]
    for name in sentences.FIGURES:
        assert about(name, folder)["caption"] in page.text
        for point in sentences.words(name, made_figures.table(name)).points:
            assert point in page.text
    assert "Figures: preset digits, computed on cpu, 2 cores." in page.text


def test_code_is_hidden_and_notes_are_apart(page):
    assert "deck.show" not in page.text and "import" not in page.text and "preset:" not in page.text
    assert len(page.notes) > 2000 and "Ask before going on" in page.notes and "Ask before going on" not in page.text


def test_links_lead_to_the_works_and_of_files_the_names_and_words_stay(page):
    """Pitfall: a link to a file of the project leads nowhere once the HTML is sent to somebody."""
    text = "In [the race](explore_race.ipynb), of [Han et al. 2015](../docs/references.md#han-2015); [a](../docs/a.md#b) [c](https://d.org)"
    shown = "In `notebooks/explore_race.ipynb`, of [Han et al. 2015](https://arxiv.org/x); a [c](https://d.org)"
    assert slides.linked(text, {"han-2015": "https://arxiv.org/x"}) == shown
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    anchors = re.findall(r"references\.md#([\w-]+)\)", "\n".join(c.source for c in cells if c.cell_type == "markdown"))
    assert page.links == [references.addresses()[anchor] for anchor in anchors] and len(anchors) > 1
    assert "notebooks/start_here.ipynb" in page.text and ".ipynb](" not in page.text


def test_what_is_vendored_says_its_version_and_licence():
    [version] = re.findall(r"reveal\.js (\d+\.\d+\.\d+)", (VENDOR / "README.md").read_text())
    assert f"`{version}`" in (VENDOR / "reveal.js").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in (VENDOR / "LICENSE").read_text()


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_sentences_follow_the_tables(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "fig06_split.csv"
    table = made_figures.table("fig06_split")
    path.write_text(stats.to_csv(table.assign(mean=table["mean"].mask(table["share"] == 0.5, 0.99))))
    shown = slides.Deck("digits", str(tmp_path)).show("fig06_split")
    assert all("highest mean at 50 % dense" in point and "99.0 %" in point for point in shown.sentences)


def test_a_figure_escapes_its_words(folder):
    shown = slides.Deck("digits", str(folder)).show("fig01_schedules")
    shown = replace(shown, picture=replace(shown.picture, alt='"<x>"'), sentences=("1 < 2",))
    assert 'alt="&quot;&lt;x&gt;&quot;"' in shown._repr_html_() and "1 &lt; 2" in shown._repr_html_()


# ---- what is refused, and what is done without -----------------------------------------------------------------------


def test_mistakes_are_refused_before_any_work(folder, tmp_path, capsys):
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        slides.make(str(tmp_path / "out"), preset="digit")
    (tmp_path / "none").mkdir()
    with pytest.raises(
        BadInput, match="fig01_schedules, .* is not there; make it again: .*figures --preset fashion-mnist"
    ):
        slides.make(str(tmp_path / "out"), preset="fashion-mnist", figures=str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        slides.make(str(tmp_path / "file" / "out"), figures=str(folder))
    assert not (tmp_path / "out").exists()
    (tmp_path / f"{slides.NAME}.pdf").mkdir()
    with pytest.raises(BadInput, match="pdf is a folder"):
        slides.make(str(tmp_path), figures=str(folder))
    assert main(["slides", "--preset", "digit"]) == 2 and "did you mean 'digits'" in capsys.readouterr().err


def test_the_command_passes_its_options_on(monkeypatch):
    calls, half = [], ["--precision", "bfloat16"]
    monkeypatch.setattr(slides, "make", lambda *given: calls.append(given))
    assert (
        main(["slides"])
        == main(["slides", "--preset", "smoke", "--output", "here", "--figures", "there", "--no-pdf", *half])
        == 0
    )
    assert calls == [("", "digits", True, "", ""), ("here", "smoke", False, "there", "bfloat16")]


def test_tables_of_another_version_are_refused_by_name(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "fig03_budgets.csv").write_text("sparsity,budget,schedule,mean\n0.9,0.1,FT,0.5\n")
    with pytest.raises(BadInput, match="fig03_budgets in .* are damaged or another version's; make it again"):
        slides.Deck("digits", str(tmp_path)).check()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("fig04_best_lr.png", lambda whole: b""),
        ("fig04_best_lr.png", lambda whole: whole[:20]),
        ("fig04_best_lr.png", lambda whole: whole[:-30]),
        ("fig04_best_lr.png", lambda whole: whole[:5000] + bytes(9) + whole[5009:]),
        ("fig04_best_lr.json", lambda whole: whole[:100]),
        ("fig04_best_lr.json", lambda whole: b"[1]"),
        ("fig04_best_lr.json", lambda whole: whole.replace(b'"alt": "', b'"alt": 3, "what": "')),
        ("fig04_best_lr.json", lambda whole: whole.replace(b'"devices"', b'"device"')),
        ("fig04_best_lr.csv", lambda whole: whole.replace(b"0.", b"O.")),
    ],
)
def test_damaged_files_are_told_in_a_sentence(file, damage, folder, tmp_path):
    """Pitfall: a picture cut short by a full disk ends in a trace, or shows as grey."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(damage((folder / file).read_bytes()))
    with pytest.raises(
        BadInput, match="of fig04_best_lr in .* are damaged or another version's; make it again: .*digits"
    ):
        slides.Deck("digits", str(tmp_path)).check()


def test_figures_of_another_precision_are_shown_as_such_or_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "project", lambda: tmp_path)
    shutil.copytree(folder, tmp_path / "figures" / "digits")
    own = tmp_path / "figures" / "own" / "digits"
    shutil.copytree(folder, own)
    assert slides.Deck("digits")._repr_html_() == "<p>Figures: preset digits, computed on cpu, 2 cores.</p>"
    half = slides.Deck("digits", precision="bfloat16")
    with pytest.raises(
        BadInput, match="fig01_schedules in .*own/digits was made in float32, not bfloat16; make it again: .*"
    ):
        half.check()
    for path in own.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": {"precision": "bfloat16"}}))
    assert "preset digits, but for precision bfloat16, computed on" in half._repr_html_()
    assert "but for precision bfloat16" in slides.Deck("digits", str(own))._repr_html_(), (
        "a folder that is named is shown"
    )
    (own / "fig01_schedules.csv").unlink()
    with pytest.raises(BadInput, match="figures --preset digits --precision bfloat16"):
        half.check()
    with pytest.raises(BadInput, match="did you mean 'bfloat16'"):
        slides.Deck("digits", precision="bfloat").check()


@pytest.mark.parametrize("browser", [None, "a browser that fails"])
def test_without_a_browser_the_html_is_made_and_a_sentence_says_what_is_not(
    browser, folder, tmp_path, monkeypatch, capsys
):
    cells = [nbformat.v4.new_markdown_cell("# One", metadata={"slideshow": {"slide_type": "slide"}})]
    monkeypatch.setattr(slides, "_executed", lambda deck, folder: nbformat.v4.new_notebook(cells=cells))
    monkeypatch.setattr(printing.shutil, "which", lambda name: browser and shutil.sys.executable)
    assert [p.name for p in slides.make(str(tmp_path), figures=str(folder))] == [f"{slides.NAME}.html"]
    said = capsys.readouterr().err
    assert "The PDF was left out: " in said and "apt install chromium" in said and "?print-pdf" in said
    assert [p.name for p in tmp_path.iterdir()] == [f"{slides.NAME}.html"], "nothing else is left behind"
    slides.make(str(tmp_path), pdf=False, figures=str(folder))
    assert "left out" not in capsys.readouterr().err


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

    monkeypatch.setattr(printing.shutil, "which", lambda name: "browser")
    monkeypatch.setattr(printing.subprocess, "run", fail)
    with pytest.raises(printing.NoPrint, match=words):
        printing.to_pdf("<p>", tmp_path / "deck.pdf")
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
