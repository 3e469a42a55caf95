"""Training: one network in a loop, or many at once; under masks, in cycles of pruning and retraining."""
