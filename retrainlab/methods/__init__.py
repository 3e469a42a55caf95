"""Ways to make a network sparse, one file each.

    table         the settings of each method, and the one table of them
    knobs         what all settings have in common, and which of them a search may turn
    make          from settings to the method
    sparsifier    what methods that sparsify during training share
    bimp          budgeted iterative magnitude pruning, as an experiment

Each other file is the method of its name; `training/method.py` says what a method may do.
"""
