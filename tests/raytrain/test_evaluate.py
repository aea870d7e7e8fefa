"""Evaluation on any number of ranks: each sample of the split once, or not at all."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from plans import TINY_RESNET
from torch import nn

from data_shards.loader import Batch, eval_batches
from data_shards.shardset import load_shardset
from data_shards.view import View
from raytrain import offline
from raytrain.cli.evaluate import evaluate as command
from raytrain.errors import RunError
from raytrain.evaluate import evaluate
from raytrain.evaluation import PREDICTION, Evaluation, summarize
from raytrain.models.build import build
from raytrain.ranks import Ranks

SAMPLES, CLASSES = 30, 6


@dataclass(frozen=True, kw_only=True)
class Simulated(Ranks):
    """A rank of several in one process: rank 0 goes last, and finds in `sent` what the others sent."""

    sent: list[Any] = field(default_factory=list)

    def to_first(self, value: Any) -> list[Any]:
        if self.first:
            return [value, *self.sent]
        self.sent.append(value)
        return []


@pytest.fixture
def network() -> nn.Module:
    module = build(TINY_RESNET, CLASSES, 16, seed=3)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(0.5)  # so that evaluation and training give different numbers
    return module


def batches(url: str, rank: int = 0, world: int = 1, batch_size: int = 8) -> Iterator[Batch]:
    return eval_batches(
        url=url, shardset=load_shardset(url), split="val", view=View(image_size=16), batch_size=batch_size,
        rank=rank, world=world,
    )  # fmt: skip


def run(
    network: nn.Module, given: Callable[[int], Iterable[Batch]], world: int = 1, bf16: bool = False
) -> Evaluation:
    sent: list[Any] = []
    for rank in reversed(range(world)):
        ranks = Simulated(rank=rank, world=world, device=torch.device("cpu"), sent=sent)
        found = evaluate(
            network, given(rank), ranks=ranks, split="val", samples=SAMPLES, classes=CLASSES, bf16=bf16
        )
        assert (found is None) == (rank > 0)
    assert found is not None
    return found


@pytest.mark.parametrize(("world", "batch_size"), [(1, 30), (1, 7), (2, 8), (3, 4), (7, 3), (40, 2)])
def test_every_division_of_the_work_says_the_same(
    network: nn.Module, small_set: str, world: int, batch_size: int
) -> None:
    """More ranks than samples too: some then have no batch at all."""
    whole = run(network, lambda _: batches(small_set))
    parts = run(network, lambda rank: batches(small_set, rank, world, batch_size), world)
    assert (parts.samples, parts.top1, parts.top5) == (SAMPLES, whole.top1, whole.top5)
    assert parts.per_class == whole.per_class
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.calibration_error == pytest.approx(whole.calibration_error, rel=1e-4)


class Oracle(nn.Module):
    """Reads the answer, which a test has painted in the first pixel of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []
        self.autocast: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        answer = ((images[:, 0, 0, 0] * 0.229 + 0.485) * 255).round().long()
        return 9.0 * nn.functional.one_hot(answer, CLASSES).float()


def painted(slots: list[int], answers: list[int], labels: list[int]) -> Batch:
    images = torch.zeros(len(slots), 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(answers, dtype=torch.uint8)
    places = torch.zeros(len(slots), 2, dtype=torch.int64)
    return Batch(images=images, labels=torch.tensor(labels), slots=torch.tensor(slots), places=places)


def perfect(slots: range | list[int]) -> Batch:
    labels = [slot % CLASSES for slot in slots]
    return painted(list(slots), labels, labels)


def test_predictions_are_held_against_their_own_labels() -> None:
    """Slots out of order over batches; labels 0..5 in turn; slots 3 and 20 get the answer 5."""
    labels = [slot % CLASSES for slot in range(SAMPLES)]
    answers = [5 if slot in (3, 20) else label for slot, label in enumerate(labels)]
    order = [*range(15, 30), *range(15)]
    given = [
        painted(part, [answers[s] for s in part], [labels[s] for s in part])
        for part in (order[:11], order[11:])
    ]
    found = run(Oracle(), lambda _: given)
    assert found.top1 == 28 / 30
    assert found.per_class == (1.0, 1.0, 4 / 5, 4 / 5, 1.0, 1.0)
    assert [(pair.label, pair.predicted, pair.count) for pair in found.confusions] == [(2, 5, 1), (3, 5, 1)]
    assert [(mistake.index, mistake.predicted) for mistake in found.mistakes] == [(3, 5), (20, 5)]
    assert found.mistakes[0].confidence == pytest.approx(np.exp(9) / (np.exp(9) + 5))


@pytest.mark.parametrize(
    ("slots", "seen"),
    [
        ([*range(29)], "29 predictions of 29 samples"),
        ([*range(30), 7], "31 predictions of 30 samples"),
        ([*range(29), 7], "30 predictions of 29 samples"),
        ([], "0 predictions of 0 samples"),
    ],
)
def test_a_sample_that_is_missing_or_doubled_is_refused(slots: list[int], seen: str) -> None:
    with pytest.raises(RunError, match=f"saw {seen}, but split 'val' holds 30"):
        run(Oracle(), lambda _: [perfect(slots)] if slots else [])


def test_ranks_that_overlap_are_refused() -> None:
    with pytest.raises(RunError, match="saw 31 predictions of 30 samples"):
        run(Oracle(), lambda rank: [perfect(range(16)) if rank else perfect(range(15, 30))], world=2)


def test_a_network_that_has_diverged_is_no_result(network: nn.Module, small_set: str) -> None:
    with torch.no_grad():
        network.get_parameter("fc.bias")[0] = float("nan")
    with pytest.raises(RunError, match=r"outputs on split 'val' are not finite.*--set optimizer\.lr"):
        run(network, lambda _: batches(small_set))


@pytest.mark.parametrize("bf16", [False, True])
def test_the_precision_is_the_recipes_and_the_figures_stay_fp32(bf16: bool) -> None:
    oracle = Oracle()
    found = run(oracle, lambda _: [perfect(range(SAMPLES))], bf16=bf16)
    assert oracle.autocast == [bf16]
    assert found.loss == pytest.approx(float(np.log1p(5 * np.exp(-9))), rel=1e-3)


def test_bf16_is_really_used(network: nn.Module, small_set: str) -> None:
    exact, rough = (run(network, lambda _: batches(small_set), bf16=bf16) for bf16 in (False, True))
    assert exact.loss != rough.loss
    assert rough.loss == pytest.approx(exact.loss, rel=0.02)


def test_the_network_evaluates_in_evaluation_mode_and_trains_on() -> None:
    oracle = Oracle().train()
    run(oracle, lambda _: [perfect(range(10)), perfect(range(10, 30))])
    assert oracle.modes == [False, False]
    assert oracle.training


def test_nothing_of_the_network_changes(network: nn.Module, small_set: str) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    run(network, lambda _: batches(small_set))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_a_person_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 1,000 images the surest 900 are right, at confidence 0.9; the others are wrong, at 0.5."""
    rows = np.zeros(1000, PREDICTION)
    rows["confidence"], rows["top5"], rows["loss"] = np.where(np.arange(1000) < 900, 0.9, 0.5), True, 0.25
    rows["predicted"] = np.arange(1000) >= 900
    found = summarize(rows, split="val", classes=2)
    monkeypatch.setattr(offline, "evaluate_checkpoint", lambda *_, **__: found)
    command("run", "data")
    assert capsys.readouterr().out.splitlines() == [
        "1,000 images of split 'val', each once",
        "  top-1 90.00%   top-5 100.00%   loss 0.2500",
        "  calibration error 14.00%, the mean gap between confidence and accuracy",
        "  80% right on the most confident 100.0% of the images",
        "  90% right on the most confident 100.0% of the images",
        "  95% right on the most confident 94.7% of the images",
    ]
