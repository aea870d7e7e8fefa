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
from typing import Any

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


def tiny_case(network: str) -> Any:
    from contenders.contender import Case

    return Case(network, batch=2, side=32, device="cpu", rounds=2, settle=0, steps=1, compiled=False)


def test_contenders_of_a_step_train_and_who_cannot_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from contenders.child import measure, prepare
    from contenders.contender import BASE, ROWS

    monkeypatch.setitem(sys.modules, "timm", None)  # as where it is not installed
    rows = [row for row in ROWS if row.title in (BASE, "timm", "torchvision", "timm, compiled")]
    case, told = tiny_case("resnet18"), list[dict[str, Any]]()
    ready = prepare(case, rows, 60.0, told.append)
    out = {answer["row"]: answer["out"] for answer in told if "out" in answer}
    assert list(ready) == [BASE, "torchvision"]
    assert "timm" in out["timm"]
    assert out["timm, compiled"] == "torch.compile was not asked for"
    told.clear()
    measure(case, ready, 60.0, told.append)
    assert len(told) == case.rounds
    assert all(set(answer["round"]) == set(ready) for answer in told)
    assert all(seconds > 0 for answer in told for seconds in answer["round"].values())


def test_a_contender_for_which_no_time_is_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from contenders.child import prepare
    from contenders.contender import ROWS

    told = list[dict[str, Any]]()
    assert prepare(tiny_case("resnet18"), ROWS[:1], -1.0, told.append) == {}
    assert told == [
        {
            "row": "raytrain",
            "out": "no time: 0 of -1 s for preparing are gone, and the slowest contender took 0",
        }
    ]


def test_a_contender_that_takes_too_long_is_told_though_a_compiler_wraps_the_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from contenders import child
    from contenders.contender import ROWS

    def slow(*_: object) -> None:
        try:
            time.sleep(60)
        except Exception as problem:
            raise RuntimeError("backend failed") from problem

    monkeypatch.setattr(child, "warm_up", slow)
    told = list[dict[str, Any]]()
    assert child.prepare(tiny_case("resnet18"), ROWS[:1], 0.05, told.append) == {}
    assert told == [{"row": "raytrain", "out": "no time: its first steps were not done in 0 s"}]


def test_raytrain_and_the_peers_train_one_network_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights and batch give the same loss, before a step and after it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from contenders import ours, peers

    from raytrain.models.build import build
    from raytrain.models.named import named

    weights = build(named("resnet18"), 1000, 32, seed=0).state_dict()
    made = peers.torchvision_network

    def same(name: str | None) -> torch.nn.Module:
        network = made(name)
        network.load_state_dict(weights)
        return network

    monkeypatch.setattr(peers, "torchvision_network", same)
    case = tiny_case("resnet18")
    contenders = [
        ours.open_contender(case, compiled=False, engine="torch"),
        peers.open_contender(case, compiled=False, library="torchvision"),
    ]
    first, second = ([contender.step() for contender in contenders] for _ in range(2))
    assert first[0] == pytest.approx(first[1], rel=1e-3)
    assert second[0] == pytest.approx(second[1], rel=1e-2)
    assert second[0] < first[0]


def test_mfu_is_three_forward_passes_over_the_peak_and_nothing_for_an_unknown_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import step

    rows = {
        "raytrain": {"seconds": [0.5, 0.25, 0.25], "peak_bytes": 2**31, "warm_up_seconds": 3.0},
        "timm": {"seconds": [0.25, 0.25, 0.5], "peak_bytes": 2**30, "warm_up_seconds": 2.0},
    }
    case = tiny_case("resnext50_32x4d")._replace(batch=64, side=224)
    told = step.summary(case, rows, 10.0)
    assert told["raytrain"]["images_per_second"]["median"] == 256
    assert told["raytrain"]["tflops"] == pytest.approx(256 * 6 * 4.230479872e-3)
    assert told["raytrain"]["mfu"] == pytest.approx(0.6498, abs=1e-4)
    assert told["raytrain"]["peak_gib"] == 2
    assert told["timm"]["over_base"] == {"median": 1.0, "lowest": 0.5, "highest": 2.0}
    unknown = step.summary(case, rows, step.PEAKS.get("a GPU of tomorrow"))
    assert {row["mfu"] for row in unknown.values()} == {None}
    assert step.fleet_lines({"medians": {"resnext50_32x4d": told}}) == [
        "sustained_tflops: 6.5  # resnext50_32x4d: raytrain"
    ]
