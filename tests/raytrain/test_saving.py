"""Saving behind the steps: what a step waits for, what it does not, and who learns of a failure."""

import threading
from pathlib import Path

import pytest
import torch
from plans import tiny_plan

from data_shards.errors import DataError
from data_shards.store.local import LocalStore
from raytrain import checkpoint
from raytrain.engine import TorchEngine
from raytrain.manifest import MANIFEST, complete_steps, newest
from raytrain.ranks import Ranks
from raytrain.runlog import EVENTS, RunLog, read_rows
from raytrain.saving import Saver
from raytrain.state import TrainState

PLAN = tiny_plan()
HERE = Ranks(rank=0, world=1, device=torch.device("cpu"))
PATIENCE = 60.0


class GatedStore(LocalStore):
    """Writes once the gate is open; raises `fault` where there is one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate, self.asked, self.fault = threading.Event(), threading.Event(), ""

    def write(self, key: str, content: bytes | Path) -> None:
        self.asked.set()
        assert self.gate.wait(PATIENCE)
        if self.fault:
            raise DataError(self.fault)
        super().write(key, content)


class Small:
    """A run of one weight: `train` moves it and counts."""

    def __init__(self, root: Path) -> None:
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(module.weight)
        self.engine = TorchEngine(
            module,
            torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.5),
            device=HERE.device,
            accumulation=1,
            clip_norm=None,
            bf16=False,
        )
        self.root, self.state, self.store = root, TrainState(), GatedStore(root)
        self.saver = Saver(store=self.store, plan=PLAN, classes=("n1",), ranks=HERE, log=RunLog(root))

    def train(self) -> None:
        with torch.no_grad():
            self.engine.module.weight.add_(1.0)
        self.state.step += 1

    def save(self) -> None:
        self.saver.save(self.engine, self.state)

    def weight(self) -> tuple[int, float]:
        """(step, weight) of the newest checkpoint."""
        found, _ = newest(self.store)
        assert found is not None
        return found.manifest.step, float(checkpoint.load_model(found)["weight"])


@pytest.fixture
def small(tmp_path: Path):
    run = Small(tmp_path)
    yield run
    run.store.gate.set()
    run.saver.close()


def test_steps_go_on_while_a_snapshot_is_written_and_do_not_change_it(small: Small) -> None:
    small.train()
    small.save()
    assert small.store.asked.wait(PATIENCE)
    small.train()
    small.train()
    assert complete_steps(small.store) == [], "three steps, and nothing is written yet"
    small.store.gate.set()
    small.saver.durable()
    assert small.weight() == (1, 1.0)


def test_the_next_snapshot_waits_for_the_one_before(small: Small) -> None:
    small.train()
    small.save()
    small.train()
    second = threading.Thread(target=small.save)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    small.store.gate.set()
    second.join(PATIENCE)
    small.saver.durable()
    assert complete_steps(small.store) == [1, 2]


def test_what_a_step_paid_and_what_was_done_behind_are_told_apart(small: Small) -> None:
    ticks = iter([10.0, 10.5, 20.0, 24.0])
    small.saver.clock = lambda: next(ticks)
    small.store.gate.set()
    small.train()
    small.save()
    small.saver.durable()
    told = [row for row in read_rows(small.root / EVENTS) if row["event"] == "checkpoint"]
    assert [(row["step"], row["seconds"], row["behind"]) for row in told] == [(1, 0.5, 4.0)]


@pytest.mark.parametrize("at", ["the next save", "the end"])
def test_a_failure_surfaces_once_at(at: str, small: Small) -> None:
    small.store.fault = "the disk is full"
    small.store.gate.set()
    small.train()
    small.save()
    with pytest.raises(DataError, match=r"^the disk is full$"):
        small.save() if at == "the next save" else small.saver.durable()
    small.saver.durable()
    told = read_rows(small.root / EVENTS)
    assert [(row["event"], row["step"], row["problem"]) for row in told] == [
        ("checkpoint_failed", 1, "the disk is full")
    ]
    small.store.fault = ""
    small.train()
    small.save()
    small.saver.durable()
    assert small.weight() == (2, 2.0)


def test_a_rank_that_ends_by_an_error_leaves_its_last_snapshot_whole(small: Small) -> None:
    small.train()
    small.save()
    threading.Timer(0.1, small.store.gate.set).start()
    small.saver.close()
    assert (small.root / "checkpoints" / "step-00000001" / MANIFEST).exists()
    assert small.weight() == (1, 1.0)
