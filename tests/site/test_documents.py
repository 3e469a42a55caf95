"""Markdown that leaves the project: its links lead to pages of the site or become words."""

from retrainlab.site import documents
from retrainlab.site.frame import Explainer

NAMES = ("fig03_budgets", "race", "start", "references", "claims")


def test_links_lead_to_what_the_site_has():
    links = {
        "fig03_budgets.ipynb": "fig03_budgets.html",
        "../figures/digits/fig03_budgets.png": "fig03_budgets.html",
        "explore_race.ipynb": "race.html",
        "start_here.ipynb": "start.html",
        "../docs/references.md#zimmer-2023": "references.html#zimmer-2023",
        "https://arxiv.org/abs/2111.00843": "https://arxiv.org/abs/2111.00843",
        "#rule": "#rule",
        "../retrainlab/claims/rule.py": "",
        "../retrainlab/references.py": "",
        "fig05_contest.ipynb": "",
    }
    assert {link: documents.target(link, NAMES) for link in links} == links


def test_links_to_nowhere_become_words():
    text = "See [the race](explore_race.ipynb), [rule.py](../retrainlab/claims/rule.py) and ![a picture](x.png)."
    assert documents.relinked(text, NAMES) == "See [the race](race.html), rule.py and ![a picture](x.png)."


def test_markdown_becomes_html_with_tables_that_scroll():
    made = documents.rendered("## Of it\n\n| | a |\n|---|---|\n| 1 | 2 |\n", NAMES, deeper=1)
    assert '<h3 id="of-it">' in made and '<div class="wide" tabindex="0"><table>' in made
    assert "<th></th>" not in made and documents.titled("# One: two\n\nthree\n") == ("One: two", "three")


def test_the_rows_of_a_table_of_sentences_can_stand_as_cards():
    long = "one sentence that is much too long for a narrow column"
    made = documents.rendered(f"| | **what** |\n|---|---|\n| C1 | {long} |\n| C2 | short |\n", NAMES)
    assert '<table class="wordy">' in made and made.count('<div class="wide"') == made.count("</div>") == 1
    assert f'<td data-label="">C1</td>\n  <td data-label="what">{long}</td>' in made and 'what">short<' in made
    assert "data-label" not in documents.rendered("| a | b |\n|---|---|\n| 1 | 2 |\n", NAMES)


def test_a_term_is_explained_once_and_where_it_first_occurs():
    explain = Explainer()
    first = explain.html(
        '<h2>Budget</h2><p title="sparsity">The <a href="x">budget</a>, a Budget, a budget; instability.</p>'
    )
    assert first.count('class="term"') == 1 and '<a class="term" href="#word-budget" title="' in first
    assert ">Budget</a>, a budget" in first and '<h2>Budget</h2><p title="sparsity">' in first
    assert str(explain("A budget & a <sparsity>.")).count('class="term"') == 1, "the budget was explained before"
    assert "&amp; a &lt;<a" in str(Explainer()("& a <sparsity>"))
