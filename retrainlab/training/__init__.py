"""Training: one network in a loop, or many at once; under masks, in cycles of pruning and retraining.

    method      what a method may do: a map from raw parameters to effective weights, and a few moments
    state       what a training is made of: State, Setup, Job, and what comes of it
    loop        one network: a start, a curve and a method -> trained weights and curves
    masked      the method that keeps what is pruned at 0
    layout      the order of their tensors in memory
    stacking    a network for many members
    patches     some of its convolutions, as products
    flat        one buffer for the parameters of all members
    slots       which jobs are trained together, and which share every step
    ways        how the steps of many members are made: called, recorded or compiled
    stack       many members in training, and one step of all of them
    together    the loop for many members at once
    cycles      prune, retrain, and again
    timing      how long a step takes in the loop and with many members
    half        what bfloat16 would save on a CPU, measured and told
    engine      which of these ways is fastest here, measured and remembered

Nothing here knows notebooks, stores or figures.
"""
