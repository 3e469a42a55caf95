"""Training: one network in a loop, or many at once; under masks, in cycles of pruning and retraining.

    method      what a method may do: a map from raw parameters to effective weights, and a few moments
    state       what a training is made of: State, Setup, Job, and what comes of it
    loop        one network: a start, a curve and a method -> trained weights and curves
    masked      the method that keeps what is pruned at 0
    stacking    a network for many members
    packs       some of its convolutions, several members at a time
    together    the loop for many members at once
    cycles      prune, retrain, and again
    engine      which of these ways is fastest here, measured

Nothing here knows notebooks, stores or figures.
"""
