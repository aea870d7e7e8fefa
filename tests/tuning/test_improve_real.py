"""A whole `raytrain improve` on real trainings, through the command line, killed on its way."""

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_shards.pack import PackOptions, pack
from raytrain.console import main
from raytrain.runlog import EVENTS, read_rows
from tuning.ledger import LEDGER
from tuning.method import checks, health

TINY = (
    "epochs=4", "global_batch=16", "view.image_size=16", "view.min_area=0.6", "model.attention=none",
    "model.depths=[1,1,1]", "regularization.label_smoothing=0", "optimizer.lr_batch=16", "train_slice=40",
    "checkpoint_epochs=2",
)  # fmt: skip
FAR_TOO_LOW = "optimizer.lr=3e-5"
PINS = ("model.widen", "model.drop_path", "optimizer.weight_decay")


def halves(folder: Path) -> str:
    """The URL of 96 training, 200 minival and 100 val images in 2 classes: the upper or the lower half is brighter."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 148), ("val", 50)):
        for sign, name in ((-1, "n90000001"), (1, "n90000002")):
            kind = folder / "raw" / split / name
            kind.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(128, 60, (16, 16, 3))
                pixels[:8] += 40 * sign
                pixels[8:] -= 40 * sign
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                    kind / f"{number:03d}.JPEG", quality=95
                )
    options = PackOptions(name="halves", samples_per_shard=100, minival=100)
    pack(folder / "raw", str(folder / "set"), options, 1, 0.0, lambda *_: None)
    return str(folder / "set")


def improve(data: str, out: str) -> None:
    """The command, on a machine whose other work makes no images late."""
    health.WAITING, checks.INPUT_MARGIN = 1.0, 0.0
    words = [
        "raytrain",
        "improve",
        "smoke_resnext_cbam_22k",
        "--data",
        data,
        "--out",
        out,
        "--executor",
        "here",
    ]
    words += ["--target", "error<=0.3", "--budget", "2", "--auto"]
    words += [word for setting in (*TINY, FAR_TOO_LOW) for word in ("--set", setting)]
    sys.argv = words + [word for pin in PINS for word in ("--pin", pin)]
    main()


def rows(out: Path) -> list[dict[str, Any]]:
    file = out / LEDGER
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def kinds(out: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in rows(out) if row["kind"] == kind]


@pytest.mark.ranks
def test_a_rate_that_is_too_low_is_found_and_mended_and_two_kills_change_nothing(tmp_path: Path) -> None:
    data, out = halves(tmp_path), tmp_path / "study"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start() -> multiprocessing.Process:
        process = context.Process(target=improve, args=(data, str(out)))
        process.start()
        return process

    for ended in (2, 5):  # trainings: a kill in the baseline, one among the probes
        process = start()
        while len(kinds(out, "trained")) < ended and process.is_alive():
            process.join(0.2)
        known = rows(out)
        process.kill()
        process.join()
        assert rows(out)[: len(known)] == known
    process = start()
    process.join()
    assert process.exitcode == 0

    proposal = kinds(out, "proposed")[0]["verdict"]
    assert (proposal["cause"], proposal["change"]["settings"]) == ("lr_up", {"optimizer.lr": 9e-5})
    end = kinds(out, "finished")[0]
    assert end["outcome"] == "met", end["text"]
    assert len(kinds(out, "looked")) == 1
    assert "lr_up" in (out / "journal.md").read_text()
    assert (out / "report.html").exists()

    trained = [json.dumps(row["trial"], sort_keys=True) for row in kinds(out, "trained")]
    assert len(trained) == len(set(trained)), "nothing is trained twice"
    begun = [
        sum(row["event"] == "started" for row in read_rows(run / EVENTS))
        for run in sorted((out / "trials").iterdir())
    ]
    assert len(begun) == len({row["reading"]["run"] for row in kinds(out, "trained")})
    assert sum(begun) <= len(begun) + 2, "a kill costs the training that ran alone"
