"""The paper's claims, and what the figures' data say of each: supported, contradicted, undecided or not tested.

    rule        the one rule that every verdict comes from
    effects     runs of a figure -> a number for each seed
    schedules   C1 to C3, on retraining schedules
    others      C4 to C7, on dense training, the contest, stability and later work
    table       the claims in order; a folder of figures -> verdicts
    report      verdicts as lines, as a page, and as files
    beside      how far two tables of claims lie apart

All is computed from the tables that lie beside the figures (NAME.runs.csv), without torch and without the store.
"""
