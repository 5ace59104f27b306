"""The conformance suite that every architecture passes; another package's would be run through the same checks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.batch import flatten, sizes_of, unflatten
from models.fleet import Fleet
from models.losses import pinball
from models.recurrent import GRU, LSTM, Recurrent
from models.registry import architecture, names
from models.spec import ModelSpec

SPEC = ModelSpec(context=16, horizon=4, hidden=8, patch=4, history=32)


def _inputs(series: int, windows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = sizes_of(SPEC)
    draw = torch.Generator().manual_seed(seed)
    patches = torch.randn(series, windows, sizes.steps, sizes.features, generator=draw)
    return patches, torch.randn(series, windows, sizes.context, generator=draw)


def _weights(name: str, series: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights everywhere, the head too, so that nothing is zero by luck."""
    net, sizes = architecture(name), sizes_of(SPEC)
    draw = torch.Generator().manual_seed(seed)
    return {n: 0.3 * torch.randn(series, *shape, generator=draw) for n, shape in net.shapes(sizes).items()}


@pytest.mark.parametrize("name", names())
def test_parameters_have_the_stated_shapes(name: str) -> None:
    net, sizes = architecture(name), sizes_of(SPEC)
    start = net.start(sizes, torch.Generator().manual_seed(0))
    assert {n: tuple(w.shape) for n, w in start.items()} == net.shapes(sizes)


@pytest.mark.parametrize("name", names())
def test_start_depends_on_the_seed_alone(name: str) -> None:
    net, sizes = architecture(name), sizes_of(SPEC)
    one, same, other = (flatten(net.start(sizes, torch.Generator().manual_seed(s)), net, sizes) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", names())
def test_an_untrained_network_forecasts_the_last_value(name: str) -> None:
    net, sizes = architecture(name), sizes_of(SPEC)
    start = {n: w[None] for n, w in net.start(sizes, torch.Generator().manual_seed(0)).items()}
    quantiles = net.quantiles(start, *_inputs(1, 3), sizes)
    assert torch.equal(quantiles[..., sizes.median], torch.zeros(1, 3, sizes.horizon))


@pytest.mark.parametrize("name", names())
def test_quantiles_never_cross(name: str) -> None:
    sizes = sizes_of(SPEC)
    quantiles = architecture(name).quantiles(_weights(name, 5), *_inputs(5, 3), sizes)
    assert quantiles.shape == (5, 3, sizes.horizon, sizes.levels)
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("name", names())
def test_every_parameter_gets_a_gradient(name: str) -> None:
    net, sizes = architecture(name), sizes_of(SPEC)
    weights = {n: w.requires_grad_() for n, w in _weights(name, 2).items()}
    targets = torch.randn(2, 3, sizes.horizon)
    loss = pinball(
        net.quantiles(weights, *_inputs(2, 3), sizes), targets, torch.ones_like(targets), torch.tensor(SPEC.levels)
    )
    for gradient in torch.autograd.grad(loss.sum(), list(weights.values())):
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", names())
def test_flatten_and_unflatten_are_inverse(name: str) -> None:
    net, sizes = architecture(name), sizes_of(SPEC)
    weights = {n: w[0] for n, w in _weights(name, 1).items()}
    back = unflatten(flatten(weights, net, sizes)[None], net, sizes)
    assert all(torch.equal(back[n][0], w) for n, w in weights.items())


@pytest.mark.parametrize(("ours", "theirs"), [(LSTM(), nn.LSTM), (GRU(), nn.GRU)])
def test_the_recurrence_is_that_of_torch_nn(ours: Recurrent, theirs: type[nn.LSTM | nn.GRU]) -> None:
    torch.manual_seed(3)
    reference = theirs(6, 8, batch_first=True)
    inputs = torch.randn(1, 2, 5, 6)
    named = dict(reference.named_parameters())
    projected = inputs @ named["weight_ih_l0"].T + named["bias_ih_l0"]
    state = torch.zeros(1, 2, 8 * ours.carried)
    outputs, _ = ours.recur(projected, named["weight_hh_l0"].T[None], named["bias_hh_l0"][None, None], state)
    expected, _ = reference(inputs[0])
    torch.testing.assert_close(outputs[0], expected)


def test_pinball_is_the_mean_over_known_targets_and_levels() -> None:
    quantiles = torch.tensor([[[[0.0, 2.0], [5.0, 5.0]]]])
    targets = torch.tensor([[[1.0, 9.0]]])
    known = torch.tensor([[[1.0, 0.0]]])
    # 0.1 * (1 - 0) for the lower level, (1 - 0.9) * (2 - 1) for the upper, their mean; the unknown target counts for nothing.
    assert pinball(quantiles, targets, known, torch.tensor([0.1, 0.9])).item() == pytest.approx(0.1)


def test_an_unknown_architecture_is_refused_naming_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"there are: .*gru.*lstm"):
        Fleet(ModelSpec(architecture="transformer"), seed=0)
