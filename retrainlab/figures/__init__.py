"""The figures: how they are drawn and saved, what is said of them, and the notebooks that make them.

    presets                the settings that figures are made with, from a minute's test to a GPU's day
    style                  how each schedule, method, allocation and score looks
    retraining, contest    DataFrame -> matplotlib Figure: figures 1 to 4, and 5 to 9
    scores                 the same for figure 10, with what makes its table
    dense, ingredients     and for figures 11 and 12
    storage, landscape     and for figures 13 and 14
    sentences              what each figure's saved table says, in words
    saving                 a figure with its numbers, its words and where it comes from
    provenance             what a saved figure says of its versions and of the training behind it
    run, notebooks         `retrainlab figures`: the notebooks, through papermill
    made, sources          which figures are up to date: what each was made from, and which modules it can reach
    cost                   what figures cost before they are made
    stored                 which figures can be drawn from what is stored, and what the others lack
    blocks                 pages of which parts are made
    evidence, published    docs/evidence.md: results that come with the project beside published ones
    pages                  `retrainlab words`: what the README and docs/trust.md say of the figures that are kept in git,
                           and a host's page of the claims; and the glossary
    slides, printing       `retrainlab slides`: the figures for a reading group; HTML -> PDF, by a browser

Drawing and words read DataFrames, never the store; `stored` and `evidence` ask it what is there.
"""
