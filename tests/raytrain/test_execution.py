"""Checkpointing, layout and compiling: the same gradients, statistics and names, and runs that change their mind."""

from pathlib import Path

import pytest
import torch
from plans import TINY_RESNET, tiny_plan, tiny_recipe
from test_worker import DROPPING, HERE, STEPS, TINY_SWIN, figures, job_at, plan_for
from torch import nn

from raytrain import checkpoint
from raytrain.errors import ResumeLater, UsageError
from raytrain.execution import blocks, laid_out, lay_out, prepare
from raytrain.manifest import key_of, verify
from raytrain.models.build import build
from raytrain.models.spec import ModelSpec, VitSpec
from raytrain.recipe import Execution
from raytrain.settings import change
from raytrain.tell import plan_text
from raytrain.worker import STOP_FILE, work

SPECS: dict[str, ModelSpec] = {
    "resnet": DROPPING,
    "swin": TINY_SWIN.model_copy(update={"depths": (2, 2)}),
    "vit": VitSpec(patch=8, width=16, depth=4, heads=2, drop_path=0.3),
}
PLAIN = Execution(channels_last=False)


def passed(spec: ModelSpec, execution: Execution) -> tuple[nn.Module, torch.Tensor, int]:
    """A network after one forward and backward pass with drop path, its logits, and the bytes kept in between."""
    module = build(spec, 5, 32, seed=3)
    prepare(module, execution)
    lay_out(module, execution)
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(5)
    images = laid_out(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(4)), execution)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = module(images)
    logits.square().sum().backward()
    return module, logits.detach(), sum(kept.values())


@pytest.mark.parametrize("family", SPECS)
def test_recomputed_activations_give_the_same_gradients_and_statistics(family: str) -> None:
    spec = SPECS[family]
    one, logits, kept = passed(spec, PLAIN)
    other, again, kept_less = passed(spec, PLAIN.model_copy(update={"checkpointing": True}))
    assert len(blocks(other)) == (spec.depth if isinstance(spec, VitSpec) else sum(spec.depths))
    assert torch.equal(logits, again)
    for (name, before), after in zip(one.named_parameters(), other.parameters(), strict=True):
        assert before.grad is not None
        assert after.grad is not None
        assert torch.equal(before.grad, after.grad), name
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key  # BatchNorm's too: it saw one pass, not two
    assert list(one.state_dict()) == list(other.state_dict())
    assert kept_less < 0.5 * kept


@pytest.mark.parametrize("family", SPECS)
def test_the_layout_changes_no_result(family: str) -> None:
    first, logits, _ = passed(SPECS[family], PLAIN)
    last, again, _ = passed(SPECS[family], Execution(channels_last=True))
    convolution = next(part for part in last.modules() if isinstance(part, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(again, logits)
    for before, after in zip(first.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(after.grad, before.grad, rtol=1e-3, atol=1e-4)


def switched(data: str, run: Path, before: Execution, after: Execution) -> dict[str, torch.Tensor]:
    """The last weights of a run that was stopped at step 7 and went on otherwise."""
    job = job_at(run, data, plan_for(data, execution=before))
    with pytest.raises(ResumeLater):
        work(job, HERE, lambda _: (run / STOP_FILE).touch())
    (run / STOP_FILE).unlink()
    other = plan_for(data, execution=after)
    assert other.hash == job.plan.hash
    work(job_at(run, data, other, resume=f"{run}/{key_of(7)}"), HERE)
    return checkpoint.load_model(verify(f"{run}/{key_of(STEPS)}"))


def test_a_run_goes_on_with_other_switches(small_set: str, tmp_path: Path) -> None:
    """Recomputing is exact; the layout differs in the last bits, which a file does not show."""
    on = Execution(checkpointing=True)
    straight = switched(small_set, tmp_path / "plain", Execution(), Execution())
    recomputed = switched(small_set, tmp_path / "recomputed", Execution(), on)
    reordered = switched(small_set, tmp_path / "reordered", on, PLAIN)
    assert straight.keys() == recomputed.keys() == reordered.keys()
    for key, tensor in straight.items():
        assert torch.equal(tensor, recomputed[key]), key
        assert reordered[key].is_contiguous()
        torch.testing.assert_close(reordered[key], tensor, rtol=0.05, atol=0.05)
    assert figures(tmp_path / "plain") == figures(tmp_path / "recomputed")


@pytest.mark.ranks  # no ranks, but as slow: it starts a C++ compiler
def test_a_compiled_network_is_the_same_network() -> None:
    """Without drop path, whose draws a compiler makes in its own way."""
    spec = TINY_RESNET
    one, logits, _ = passed(spec, PLAIN)
    compiled, again, _ = passed(spec, PLAIN.model_copy(update={"compile": True}))
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)
    assert list(one.state_dict()) == list(compiled.state_dict())
    for before, after in zip(one.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(after.grad, before.grad, rtol=1e-2, atol=1e-3)


def test_the_plan_says_what_is_not_as_usual() -> None:
    usual = tiny_plan(epochs=1)
    less = tiny_plan(epochs=1, execution={"checkpointing": True, "channels_last": False})
    assert "computed          channels first, activations recomputed" in plan_text(less)
    assert "computed" not in plan_text(usual)
    assert less.estimates.worker_gib < usual.estimates.worker_gib


def test_both_ways_of_recomputing_are_refused() -> None:
    both = {"execution.checkpointing": True, "execution.compile": True}
    with pytest.raises(UsageError, match="checkpointing and compile are not done together: one of them has"):
        change(tiny_recipe(model=TINY_RESNET), both)
