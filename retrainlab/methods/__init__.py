"""Ways to make a network sparse, one file each.

    table         what can be set of each method, and the one table of them
    knobs         what all settings have in common, and what of them a search may turn
    make          from settings to the method
    sparsifier    what methods that sparsify during training share;  gradual: what GMP and DPF share
    bimp          budgeted iterative magnitude pruning, as an experiment

All other files are methods under their own names; `training/method.py` says what one may do.
"""
