"""The harness measures what it says: work behind the last batch is charged, and the reference averages areas."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from data_shards.synth import SynthOptions

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
BUSY = 0.4
"""Seconds of CPU, in whole ticks even on a slow machine."""


def burn() -> None:
    until = time.thread_time() + BUSY
    while time.thread_time() < until:
        pass


class WorksBehind:
    """A path whose thread and whose child process go on after the last batch."""

    def epoch(self) -> Iterator[torch.Tensor]:
        burner = f"import time\nwhile time.process_time() < {BUSY}: pass\ninput()"
        self.child = subprocess.Popen([sys.executable, "-c", burner], stdin=subprocess.PIPE)
        threading.Thread(target=burn).start()
        yield torch.zeros(4, 3, 224, 224, dtype=torch.uint8)


def test_a_pass_pays_for_what_is_done_behind_its_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from paths.child import epoch

    path = WorksBehind()
    measured = epoch(path)
    path.child.communicate(b"\n")
    assert measured["images"] == 4
    assert measured["cpu"] >= 2 * BUSY - 0.02


def test_area_reference_is_the_mean_of_whole_blocks_and_keeps_light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from pixels import area_average

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (448, 672, 3))
    wanted = blocks.reshape(224, 2, 224, 3, 3).mean(axis=(1, 3))
    assert np.abs(area_average(blocks) - wanted).max() <= 0.5
    assert (area_average(np.full((301, 233, 3), 77)) == 77).all()


def test_our_own_crops_come_out_of_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from paths.ours import open_path
    from paths.path import Data
    from pixels import picks, reference
    from sets import make_set

    make_set(tmp_path, SynthOptions(classes=2, images=8, val_images=1, size=64))
    data = Data(images=tmp_path / "images", shards=tmp_path / "shards", marked=tmp_path, own=tmp_path)
    boxes = picks(data, centred=False)
    assert [box.number for box in boxes] == [0, 8]
    crops = np.asarray(open_path(data, filter_name="bicubic", marked=False).crops(boxes)).astype(np.int16)
    assert np.abs(crops - reference(data, boxes, "bicubic")).mean() < 0.5


def test_the_page_is_what_the_measured_results_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import run

    shutil.copytree(BENCHMARKS / "results", tmp_path / "results")
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert run.write_page().read_text() == (BENCHMARKS / "RESULTS.md").read_text()


def test_traffic_is_counted_by_what_the_epoch_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from traffic import Seen, count

    asked = [
        ("shards/train-00000.tar", "bytes=0-16383"),
        ("shards/train-00000.tar", "bytes=16384-19999"),
        ("index/train-00000.idx", "bytes=0-287"),
        ("index/train-00000.idx", "bytes=0-287"),
        ("shards/train-00001.tar", "bytes=0-16383"),
        ("shardset.json", "bytes=0-"),
    ]
    seen = [Seen("GET", f"/bucket/set/{key}", span, None) for key, span in asked]
    told = count(seen, {"train-00000", "train-00002"})
    assert told == {"shards": 2, "gets": 4, "twice": 1, "mb": 20_576 / 1e6, "ahead": 1}


def test_memory_counts_a_batch_that_nobody_has_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from processes import family, memory

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in family(os.getpid())
        child.communicate(b"\n")
    before = memory([os.getpid()])["batches_mib"]
    with tempfile.TemporaryFile(dir="/dev/shm") as batch:
        batch.write(bytes(4 * 2**20))
        batch.flush()
        with os.fdopen(os.dup(batch.fileno())):  # one file, whoever holds it
            assert memory([os.getpid()])["batches_mib"] == before + 4
