"""A method that only writes down when it was called, for the tests of both loops."""

import torch

from retrainlab.training.method import Method


class Diary(Method):
    """Writes down its moments."""

    def __init__(self):
        self.lines = []

    def effective(self, params):
        self.lines.append("effective" if torch.is_grad_enabled() else "evaluate")
        return params

    def penalty(self, params):
        self.lines.append("penalty")

    def edit_gradients(self, params, gradients):
        self.lines.append("edit")

    def after_step(self, params, step):
        self.lines.append(f"step {step}")

    def after_epoch(self, params, epoch):
        self.lines.append(f"epoch {epoch}")

    def finish(self, params):
        self.lines.append("finish")
