"""One buffer for all parameters: what is done to it is done to every tensor, entry for entry."""

import pytest
import torch

from retrainlab.config import SGD
from retrainlab.training import loop
from retrainlab.training.flat import Flat
from retrainlab.training.layout import laid_out
from retrainlab.training.stack import Stack
from retrainlab.training.ways import Way
from tests.helpers.members import jobs_of, network, setup_of, under_masks


def stacked(members=3):
    generator = torch.Generator().manual_seed(0)
    shapes = {name: p.shape for name, p in network("resnet20").named_parameters()} | {"threshold": ()}
    return {n: torch.randn(members, *s, generator=generator) for n, s in shapes.items()}


def test_views_are_the_tensors_in_their_order_of_memory_and_fill_the_buffer():
    tensors = stacked()
    order = sorted(tensors, key=len)
    flat = Flat.of(tensors, order)
    assert list(flat.views) == list(tensors) and list(flat.ends) == order
    assert flat.buffer.shape == (3, sum(t[0].numel() for t in tensors.values()))
    for name, t in tensors.items():
        assert torch.equal(flat.views[name], t) and flat.views[name].data_ptr() != t.data_ptr()
        assert flat.views[name][0].stride() == laid_out(t)[0].stride()
    numbers = torch.arange(flat.buffer.numel(), dtype=torch.float32).view_as(flat.buffer)
    flat.buffer.copy_(numbers)
    assert torch.equal(torch.cat([v.flatten() for v in flat.views.values()]).sort().values, numbers.flatten())
    flat.fill(tensors)
    assert all(torch.equal(flat.views[name], t) for name, t in tensors.items())
    assert flat.length(order[:2]) == sum(tensors[name][0].numel() for name in order[:2]) and flat.length([]) == 0


def test_tensors_that_ask_for_gradients_are_copied_like_others():
    tensors = {n: t.requires_grad_(True) for n, t in stacked().items()}
    flat = Flat.of(tensors, list(tensors))
    assert all(torch.equal(flat.views[n], t) and not flat.views[n].requires_grad for n, t in tensors.items())


@pytest.mark.parametrize(
    "sgd", [SGD(), SGD(0.9, True, 1e-2), SGD(0.5, False, 0.0), SGD(0.9, True, 1e-2, True)], ids=str
)
def test_a_step_of_the_buffer_is_bit_for_bit_that_of_each_tensor(sgd):
    """The loop's own step, on the same gradients, for each member by itself."""
    setup = setup_of(network(dtype=torch.float32), sgd=sgd)
    jobs = jobs_of(setup, under_masks(setup), steps=(5, 5, 5))
    stack = Stack.of(setup, Way.of(setup.model), jobs)
    generator = torch.Generator().manual_seed(1)
    for step in range(3):
        gradients = {n: torch.randn(p.shape, generator=generator) for n, p in stack.params.items()}
        for mask in stack.method.masks:
            gradients[mask][0].view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
        wanted = []
        for i, job in enumerate(jobs):
            own = [
                {n: t[i].detach().clone() for n, t in part.items()}
                for part in (stack.params, gradients, stack.momentum)
            ]
            own[1] = {
                n: loop.keep(g, loop.bits(m, g)) if (m := job.method.masks.get(n)) is not None else g
                for n, g in own[1].items()
            }
            update = loop.direction(*own, setup.sgd, setup.decayed(own[0]))
            rate = -job.curve.float()[step]
            wanted.append({n: w.addcmul(u, rate.expand_as(u)) for (n, w), u in zip(own[0].items(), update)})
        stack.gradient.fill(gradients)
        stack.update(stack.rates[step])
        for i, params in enumerate(wanted):
            for name, w in params.items():
                torch.testing.assert_close(stack.params[name][i], w, rtol=0, atol=0, equal_nan=True)
