"""The gates against their formulas, written out by hand in fp64."""

import pytest
import torch
from torch.nn import functional as F

from raytrain.models.attention import Cbam, SqueezeExcite


def picture(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shaken(module):
    """The module in fp64 with every number random, zeros too."""
    generator = torch.Generator().manual_seed(2)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def mlp(module, pooled):
    hidden = (pooled @ module.fc1.weight.T + module.fc1.bias).clamp(min=0)
    return hidden @ module.fc2.weight.T + module.fc2.bias


def test_se_weighs_channels_by_their_mean():
    x, se = picture(2, 8, 5, 5), shaken(SqueezeExcite(8, 4))
    gate = torch.sigmoid(mlp(se.mlp, x.sum((2, 3)) / 25))
    torch.testing.assert_close(se(x), torch.einsum("bchw,bc->bchw", x, gate))


@pytest.mark.parametrize("kernel", [3, 7])
def test_cbam_is_the_authors_order_of_gates_pools_and_maps(kernel):
    x, cbam = picture(2, 8, 6, 6), shaken(Cbam(8, 4, kernel)).eval()
    cbam.bn.running_mean.fill_(0.3)
    cbam.bn.running_var.fill_(2.0)
    gate = torch.sigmoid(mlp(cbam.mlp, x.mean((2, 3))) + mlp(cbam.mlp, x.amax((2, 3))))
    weighed = torch.einsum("bchw,bc->bchw", x, gate)
    maps = torch.stack([weighed.amax(1), weighed.mean(1)], 1)
    logits = F.conv2d(maps, cbam.conv.weight, padding=kernel // 2)
    logits = (logits - 0.3) / (2.0 + 1e-5) ** 0.5 * cbam.bn.weight + cbam.bn.bias
    torch.testing.assert_close(cbam(x), weighed * torch.sigmoid(logits))


def test_the_spatial_gate_starts_at_one_half_and_its_convolution_without_gradient():
    x, cbam = picture(2, 8, 6, 6), Cbam(8, 4, 7).double()
    channel_only = torch.einsum(
        "bchw,bc->bchw", x, torch.sigmoid(cbam.mlp(x.mean((2, 3))) + cbam.mlp(x.amax((2, 3))))
    )
    y = cbam(x)
    torch.testing.assert_close(y, channel_only / 2)
    y.square().sum().backward()
    assert cbam.conv.weight.grad.abs().max() == 0
    assert cbam.bn.weight.grad.abs().max() > 0  # so the norm moves on step one, the convolution on step two
    assert cbam.bn.momentum == 0.01


def test_the_mlp_has_biases_that_start_at_zero():
    assert {
        name: float(p.detach().abs().max()) for name, p in Cbam(8, 4, 7).mlp.named_parameters() if p.ndim == 1
    } == {
        "fc1.bias": 0.0,
        "fc2.bias": 0.0,
    }
