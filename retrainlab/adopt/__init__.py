"""A network of the user's own: from a checkpoint to advice and sparse weights.

checkpoint   a module, its weights and the masks that are in it already, made plain
rates        how the dense run's learning rates are told
own          `own(...)` -> Own, which says what may be pruned and is asked for advice
running      retrainings of it, from the store where they are there
sample       a small network that a factory makes, to begin with
answer       what is said of them: advice, table, figure, networks
"""
