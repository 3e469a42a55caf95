"""What the README and docs/trust.md say of results is made from the figures that are kept in git, and leaves the rest."""

import json
import re
from html import unescape

import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.figures import blocks, evidence, pages, provenance, sentences
from retrainlab.teaching import answers
from tests.helpers.made_figures import table
from tests.helpers.tracked import tracked

README = """# A project

<!-- schedules: made by retrainlab words -->
<!-- end of schedules -->

<!-- picture: made by retrainlab words -->
old
<!-- end of picture -->

<!-- findings: made by retrainlab words -->
| figure | question | on digits |
|---|---|---|
| [3](notebooks/fig03_budgets.ipynb) | which schedule? | old |
| [5](notebooks/fig05_contest.ipynb) | who? |
| [6](notebooks/fig06_split.ipynb) | how much? | old |
<!-- end of findings -->

<!-- claims: made by retrainlab words -->
| | claim | old |
| --- | --- | --- |
| C1 | linear schedules | old |
| C2 | BIMP |
<!-- end of claims -->
The end.
"""
HOST = "".join(
    f"<!-- {name}: made by retrainlab words -->\n<!-- end of {name} -->\n" for name in (*answers.SESSIONS, "times")
)
TRUST = "Before.\n<!-- results: made by retrainlab words -->\n<!-- end of results -->\nAfter.\n"


def saved(name: str, device: str = "cpu, 2 cores") -> dict[str, str]:
    """The table and the words of a figure, by their paths."""
    caption = f"Means over seeds. {sentences.words(name, table(name)).results} One layer is not pruned."
    about = {"caption": caption, "devices": [device], "versions": {"torch": "2.14.1"}}
    path = f"figures/digits/{name}"
    return {f"{path}.csv": stats.to_csv(table(name)), f"{path}.json": json.dumps(about)}


def claimed(**verdicts: str) -> str:
    return json.dumps({"claims": [{"name": name, "verdict": verdict} for name, verdict in verdicts.items()]})


@pytest.fixture
def files() -> dict[str, str]:
    """A project with three figures, two of which its README has rows for, and no claims."""
    found = {"README.md": README, "docs/trust.md": TRUST, "teach/host.md": HOST}
    for name in ("fig03_budgets", "fig05_contest", "fig09_where"):
        found |= saved(name)
    return found


def filled(files: dict[str, str]) -> tuple[str, str]:
    made = pages.pages(files.get)
    return made["README.md"], made["docs/trust.md"]


def test_the_row_of_each_figure_that_is_there_ends_with_its_finding(files):
    readme, _ = filled(files)
    for name, start in (("fig03_budgets", "| which schedule? |"), ("fig05_contest", "| who? |")):
        assert f"{start} {sentences.words(name, table(name)).finding} |\n" in readme
    assert "| [6](notebooks/fig06_split.ipynb) | how much? | |\n" in readme, "figure 6 is not there"
    assert "old" not in readme and readme.startswith("# A project\n\n<!-- sch") and readme.endswith("-->\nThe end.\n")


def test_the_picture_has_the_figures_alternative_text_and_its_caption_without_results(files):
    readme, said = filled(files)[0], sentences.words("fig03_budgets", table("fig03_budgets"))
    assert f"![{said.alt}](figures/digits/fig03_budgets.png)\n\n*Means over seeds.*\n<!-- end" in readme
    cifar10 = {path.replace("digits", "cifar10"): text for path, text in saved("fig03_budgets").items()}
    assert "](figures/cifar10/fig03_budgets.png)" in filled(files | cifar10)[0], "CIFAR-10's comes first"
    del files["figures/digits/fig03_budgets.json"]
    assert "<!-- picture: made by retrainlab words -->\n<!-- end of picture -->" in filled(files)[0]


def test_markdown_shows_every_sentence_as_it_is(files):
    """Pitfall: the stars of figure 5, which mean that a verdict stands corrected, make words slant instead."""
    trust = filled(files)[1]
    shown = " ".join(unescape(re.sub(r"<[^>]+>", "", markdown2html_mistune(trust))).split())
    for name in ("fig03_budgets", "fig05_contest", "fig09_where"):
        said = sentences.words(name, table(name))
        assert (said.results or " ".join(said.points)) in shown
    assert "*" in sentences.words("fig05_contest", table("fig05_contest")).results and trust.count("\n- [Figure ") == 3
    assert "[Figure 3](../notebooks/fig03_budgets.ipynb), 5 seeds." in trust and "9_where.ipynb), 3 seeds." in trust
    assert trust.startswith("Before.\n<!-- results") and trust.endswith("end of results -->\nAfter.\n")


def test_where_the_figures_come_from_is_told_once_if_it_is_the_same(files):
    assert (
        "Figures 3, 5 and 9 of [figures/digits](../figures/digits), made with torch 2.14.1 on cpu, 2 cores."
        in filled(files | {"figures/digits/smoke": ""})[1]
    )
    other = filled(files | saved("fig04_best_lr", "another CPU") | saved("fig06_split"))[1]
    assert "Figures 3 to 6 and 9 of" in other
    assert "torch 2.14.1 on cpu, 2 cores (figures 3, 5, 6 and 9); torch 2.14.1 on another CPU (figures 4)." in other


def test_claims_have_a_column_for_each_folder_that_has_verdicts(files):
    assert "| | claim |\n| --- | --- |\n| C1 | linear schedules |\n| C2 | BIMP |\n<!-- end" in filled(files)[0]
    files["figures/digits/claims.json"] = claimed(C1="supported", C2="contradicted")
    one = filled(files)[0]
    assert (
        "| | claim | digits |\n" in one
        and "| C2 | BIMP | contradicted |\n\nOn digits the data speak against C2.\n" in one
    )
    files["figures/fashion-mnist/claims.json"] = claimed(C1="undecided")
    both = filled(files)[0]
    assert "| C1 | linear schedules | supported | undecided |\n| C2 | BIMP | contradicted | |\n" in both
    assert "\n\nOn digits the data speak against C2. On Fashion-MNIST no claim is contradicted.\n<!-- end" in both


def test_figures_that_were_made_twice_say_how_far_their_claims_lie_apart(files):
    files["figures/digits/claims.json"] = claimed(C1="supported")
    twice = {"devices": ["another CPU"], "torch": ["2.14.1"], "sentences": ["Verdicts that differ: none, of 7.", "So."]}
    twice["of"] = provenance.digest(files["figures/digits/claims.json"])
    files["figures/digits/claims.beside.json"] = json.dumps(twice)
    assert (
        filled(files)[1].count(
            "- Made once more (another CPU, torch 2.14.1), the same figures say this of the claims. "
            "Verdicts that differ: none, of 7. So.\n"
        )
        == 1
    )


def test_how_far_other_claims_lay_apart_is_not_told_of_these(files):
    """Pitfall: the figures are made anew, and the sentences beside them name verdicts that are no longer there."""
    twice = {"devices": ["another CPU"], "torch": ["2.14.1"], "sentences": ["So."], "of": provenance.digest("{}")}
    stale = {
        "figures/digits/claims.json": claimed(C1="supported"),
        "figures/digits/claims.beside.json": json.dumps(twice),
    }
    with pytest.raises(
        BadInput, match="claims.beside.json is damaged, or of other claims than those beside it; make it again"
    ):
        pages.pages((files | stale).get)


@pytest.mark.parametrize("claims", [{}, {"figures/digits/claims.json": claimed(C1="supported")}])
def test_pages_that_are_made_once_more_stay_as_they_are(files, claims):
    files |= claims
    assert pages.pages((files | pages.pages(files.get)).get) == pages.pages(files.get)


def test_a_folder_without_figures_is_not_spoken_of(files):
    alone = {"README.md": files["README.md"], "docs/trust.md": TRUST, "teach/host.md": HOST}
    readme, trust = filled(alone)
    assert trust == TRUST and "| who? | |\n" in readme


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("figures/digits/fig03_budgets.csv", "schedule\nLLR\n", "figures fig03_budgets --preset digits --fresh"),
        ("figures/digits/fig03_budgets.csv", "", "damaged"),
        ("figures/digits/fig05_contest.json", "{}", "fig05_contest"),
        ("figures/digits/fig05_contest.json", "[", "fig05_contest"),
        ("figures/fashion-mnist/claims.json", "{}", "claims --preset fashion-mnist"),
        ("figures/digits/claims.json", '{"claims": [1]}', "claims --preset digits"),
        ("figures/digits/claims.beside.json", '{"devices": []}', "claims --beside FOLDER"),
        ("README.md", None, "clone"),
        ("README.md", README.replace("<!-- end of claims -->\n", ""), "<!-- end of claims -->"),
        ("docs/trust.md", TRUST + TRUST, "once"),
    ],
)
def test_what_is_damaged_is_named_with_what_to_do(files, path, text, words):
    with pytest.raises(BadInput) as refused:
        pages.pages((files | {path: text}).get)
    assert words in str(refused.value) and path.rpartition(".")[0] in str(refused.value)


def test_the_command_writes_all_pages_and_then_nothing(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(blocks, "project", lambda: tmp_path)
    monkeypatch.setattr(evidence, "pages", lambda read: {"README.md": read("README.md") + "With results.\n"})
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert main(["words"]) == 0
    assert (
        capsys.readouterr().out
        == "README.md: written\ndocs/trust.md: written\nteach/host.md: as it was\ndocs/glossary.md: written\n"
    )
    made = files | pages.pages(files.get)
    made["README.md"] += "With results.\n"
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in made} == made
    monkeypatch.setattr(evidence, "pages", lambda read: {})
    assert main(["words"]) == 0
    assert (
        capsys.readouterr().out
        == "README.md: as it was\ndocs/trust.md: as it was\nteach/host.md: as it was\ndocs/glossary.md: as it was\n"
    )


def test_the_pages_of_this_project_are_what_its_figures_say():
    """Of all files as git has them: a user's command may have rewritten the figures since."""

    if tracked("README.md") is None:
        pytest.skip("there is no git here, or no README in it")
    made = pages.pages(tracked)
    assert {path: tracked(path) for path in made} == made, "run `make words`, and add the pages to git with the figures"
