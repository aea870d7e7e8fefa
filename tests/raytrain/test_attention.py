"""The gates against their formulas, written out by hand in fp64."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from raytrain.models.attention import Cbam, SqueezeExcite
from raytrain.models.spec import ResNetSpec

CHANNELS = 16
EXPECTED = {  # of the arrangement's gates c (channels) and s (places), both functions of what they are given
    "channel": lambda x, c, _: x * c(x),
    "spatial": lambda x, _, s: x * s(x),
    "cbam": lambda x, c, s: (x * c(x)) * s(x * c(x)),
    "spatial_channel": lambda x, c, s: (x * s(x)) * c(x * s(x)),
    "parallel": lambda x, c, s: x * c(x) * s(x),
}


def picture(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shaken(module):
    """The module in fp64 with every number random, zeros too."""
    generator = torch.Generator().manual_seed(2)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.fill_(0.3)
            elif name.endswith("running_var"):
                buffer.fill_(2.0)
    return module


def mlp(weights, pooled):
    hidden = (pooled @ weights["mlp.fc1.weight"].T + weights.get("mlp.fc1.bias", 0)).clamp(min=0)
    return hidden @ weights["mlp.fc2.weight"].T + weights.get("mlp.fc2.bias", 0)


def by_hand(x, weights, spec):
    """What the module must give, from its numbers alone."""

    def channel(x):
        pools = {
            "avg": [x.mean((2, 3))],
            "max": [x.amax((2, 3))],
            "avg_max": [x.mean((2, 3)), x.amax((2, 3))],
        }
        logits = sum(mlp(weights, pooled) for pooled in pools[spec.channel_pools])
        return torch.sigmoid(logits)[:, :, None, None]

    def spatial(x):
        maps = [x.amax(1), x.mean(1)]
        if spec.spatial_maps == "avg_max":
            maps = maps[::-1]
        if spec.spatial_maps == "conv":
            maps = [torch.einsum("bchw,c->bhw", x, weights["pool.weight"][0, :, 0, 0])]
        kernel = weights["conv.weight"]
        logits = F.conv2d(torch.stack(maps, 1), kernel, padding=kernel.shape[-1] // 2)
        if spec.spatial_norm:
            logits = (logits - 0.3) / (2.0 + 1e-5) ** 0.5 * weights["bn.weight"] + weights["bn.bias"]
        return torch.sigmoid(logits)

    return EXPECTED[spec.attention](x, channel, spatial)


def test_se_weighs_channels_by_their_mean():
    x, se = picture(2, CHANNELS, 5, 5), shaken(SqueezeExcite(ResNetSpec(attention="se"), CHANNELS))
    gate = torch.sigmoid(mlp(se.state_dict(), x.sum((2, 3)) / 25))
    torch.testing.assert_close(se(x), torch.einsum("bchw,bc->bchw", x, gate))


@pytest.mark.parametrize("attention", EXPECTED)
def test_every_option_of_cbam_is_its_formula(attention):
    x, seen = picture(2, CHANNELS, 6, 6), []
    options = itertools.product(
        ("avg", "max", "avg_max"), ("max_avg", "avg_max", "conv"), (3, 7), (True, False), (True, False)
    )
    for pools, maps, kernel, norm, bias in options:
        spec = ResNetSpec(
            attention=attention,
            channel_pools=pools,
            spatial_maps=maps,
            spatial_kernel=kernel,
            spatial_norm=norm,
            mlp_bias=bias,
            reduction=4,
        )
        cbam = shaken(Cbam(spec, CHANNELS))
        y = cbam(x)
        torch.testing.assert_close(y, by_hand(x, cbam.state_dict(), spec))
        assert all(not torch.allclose(y, other) for other in seen if attention in ("cbam", "parallel"))
        seen.append(y)
    assert len(seen) == 72


def test_the_papers_order_of_maps_is_the_authors_with_the_input_channels_swapped():
    x = picture(2, CHANNELS, 6, 6)
    code, paper = (
        shaken(Cbam(ResNetSpec(attention="cbam", spatial_maps=maps), CHANNELS))
        for maps in ("max_avg", "avg_max")
    )
    weights = code.state_dict()
    paper.load_state_dict({**weights, "conv.weight": weights["conv.weight"].flip(1)})
    torch.testing.assert_close(paper(x), code(x))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("start", ["half", "random"])
def test_the_gates_start(norm, start):
    x = picture(2, CHANNELS, 6, 6)
    spec = ResNetSpec(attention="cbam", spatial_norm=norm, gate_start=start)
    cbam = Cbam(spec, CHANNELS).double()
    y = cbam(x)
    y.square().sum().backward()
    is_half = torch.allclose(y, x * cbam.channel_gate(x) / 2)
    learns = cbam.conv.weight.grad.abs().max() > 0
    # with the norm at zero the convolution waits for the second step
    assert (is_half, learns) == (start == "half", not (start == "half" and norm))
    if norm:
        assert cbam.bn.weight.grad.abs().max() > 0
        assert cbam.bn.momentum == 0.01


def test_the_mlp_has_biases_that_start_at_zero_or_none():
    def biases(**options):
        mlp = Cbam(ResNetSpec(attention="cbam", **options), CHANNELS).mlp
        return {name: float(p.detach().abs().max()) for name, p in mlp.named_parameters() if p.ndim == 1}

    assert biases() == {"fc1.bias": 0.0, "fc2.bias": 0.0}
    assert biases(mlp_bias=False) == {}


WIDENED = {
    "sum",
    "prod",
    "norm",
    "softmax",
    "log_softmax",
    "exp",
    "log",
    "pow",
    "cumsum",
    "cumprod",
    "reciprocal",
    "rsqrt",
}
"""Of CUDA's autocast, what computes in float32 and hands it on (torch's page on torch.amp, "CUDA Ops that can autocast
to float32"): of these, what a gate could use."""


class Called(TorchFunctionMode):
    """The names of torch's functions that are called meanwhile."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("attention", [*EXPECTED, "se"])
def test_a_gate_leaves_bf16_as_it_is_on_a_gpu(attention):
    """A float32 gate makes all that it multiplies float32: 22 GiB for a ResNeXt101 where 16 were planned."""
    spec = ResNetSpec(attention=attention)
    gate = SqueezeExcite(spec, CHANNELS) if attention == "se" else Cbam(spec, CHANNELS)
    with Called() as called:
        gate(torch.randn(2, CHANNELS, 8, 8))
    assert "sigmoid" in called.names
    assert not called.names & WIDENED
