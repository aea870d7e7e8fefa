"""Weights into a network with other classes or a larger window, every tensor accounted for."""

import pytest
import torch

from raytrain.errors import UsageError
from raytrain.models.build import build
from raytrain.models.named import named_specs
from raytrain.transfer import Account, adapt
from raytrain.weights.windows import resize_table

SOURCE = ("n01", "n02", "n03", "n04")
TARGET = ("n03", "n09", "n01")


def network(name, classes, size=32, seed=0, **changes):
    return build(named_specs()[name].model_copy(update=changes), classes, size, seed)


@pytest.mark.parametrize(("name", "head"), [("swin_tiny_smoke", "head"), ("resnext_tiny_smoke_cbam", "fc")])
def test_head_rows_follow_their_wnids_and_the_rest_is_carried(name, head):
    source, target = network(name, 4, seed=1), network(name, 3, seed=2)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    given = source.state_dict()
    given[f"{head}.bias"].copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    state, account = adapt(given, SOURCE, target, TARGET)
    assert state[f"{head}.bias"].tolist() == [3.0, float(before[f"{head}.bias"][1]), 1.0]
    weight = f"{head}.weight"
    assert torch.equal(state[weight], torch.stack([given[weight][2], before[weight][1], given[weight][0]]))
    body = [key for key in given if not key.startswith(f"{head}.")]
    assert all(torch.equal(state[key], given[key]) for key in body)
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())
    indices = sum(key.endswith("relative_position_index") for key in body)
    assert account == Account(
        carried=len(body) - indices,
        interpolated=0,
        window_from=None,
        window_to=None,
        head_carried=2,
        head_fresh=1,
        fresh_examples=("n09",),
        head_left=2,
    )
    target.load_state_dict(state)


def test_a_larger_window_interpolates_every_table_and_keeps_the_new_index():
    source = network("swin_tiny_smoke", 4, seed=1)
    target = network("swin_tiny_smoke", 4, size=48, seed=2, window=6)
    state, account = adapt(source.state_dict(), SOURCE, target, SOURCE)
    target.load_state_dict(state)
    key = "features.1.0.attn.relative_position_bias_table"
    assert torch.equal(state[key], resize_table(source.state_dict()[key], 6))
    index = "features.1.0.attn.relative_position_index"
    assert torch.equal(state[index], network("swin_tiny_smoke", 4, size=48, window=6).state_dict()[index])
    assert (account.interpolated, account.window_from, account.window_to) == (6, 4, 6)
    assert account.carried == sum(
        not key.endswith(("table", "index")) and not key.startswith("head.") for key in state
    )
    assert target(torch.randn(1, 3, 48, 48)).isfinite().all()
    assert account.lines() == [
        f"{account.carried} tensors carried over as they are",
        "6 bias tables interpolated from window 4 to 6 (bicubic, Microsoft's rule)",
        "4 classes of the head carried over by WNID",
    ]


def test_tables_are_resized_by_microsofts_rule():
    table = torch.randn(13 * 13, 3, generator=torch.Generator().manual_seed(0))
    # utils.py load_pretrained of microsoft/Swin-Transformer, line by line
    theirs = torch.nn.functional.interpolate(
        table.permute(1, 0).view(1, 3, 13, 13), size=(23, 23), mode="bicubic"
    )
    theirs = theirs.view(3, 23 * 23).permute(1, 0)
    assert torch.equal(resize_table(table, 12), theirs)
    torch.testing.assert_close(resize_table(torch.full((169, 2), 0.7), 12), torch.full((529, 2), 0.7))


def test_22k_to_1k_names_three_of_the_fresh_classes():
    source, target = network("resnext_tiny_smoke", 4), network("resnext_tiny_smoke", 9)
    wanted = (*SOURCE, "n11", "n12", "n13", "n14", "n15")
    _, account = adapt(source.state_dict(), SOURCE, target, wanted)
    assert account.lines()[-1] == "5 classes start fresh, unknown to the checkpoint: n11, n12, n13, ..."


def test_another_network_is_refused_with_both_shapes():
    source = network("resnext_tiny_smoke", 4)
    with pytest.raises(UsageError) as wide:
        adapt(source.state_dict(), SOURCE, network("resnext_tiny_smoke", 3, widen=2.0), TARGET)
    assert "layer1.0.conv1.weight: checkpoint (32, 32, 1, 1), model (64, 32, 1, 1)" in str(wide.value)
    assert str(wide.value).count("\n") == 6  # five differences and the count of the others
    with pytest.raises(
        UsageError, match=r"layer1\.0\.cbam\.mlp\.fc1\.weight: checkpoint has none, model \(16, 128\)"
    ):
        adapt(source.state_dict(), SOURCE, network("resnext_tiny_smoke_cbam", 3), TARGET)
    with pytest.raises(UsageError, match=r"fc\.weight: checkpoint \(4, 512\), model \(2, 512\)"):
        adapt(source.state_dict(), SOURCE[:2], network("resnext_tiny_smoke", 3), TARGET)
    with pytest.raises(
        UsageError, match=r"features\.0\.0\.weight: checkpoint has none, model \(48, 3, 4, 4\)"
    ):
        adapt(source.state_dict(), SOURCE, network("swin_tiny_smoke", 3), TARGET)


def test_a_swin_of_other_heads_is_refused():
    source = network("swin_tiny_smoke", 4)
    other = network("swin_tiny_smoke", 4, size=48, window=6, head_dim=24)
    with pytest.raises(UsageError, match=r"bias_table: checkpoint \(121, 3\), model \(121, 2\)"):
        adapt(source.state_dict(), SOURCE, other, SOURCE)
