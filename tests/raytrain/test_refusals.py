"""What can be refused without torch, Ray and Optuna is refused before they are loaded, which takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plans import paper_shardset, tiny_plan

from data_shards.store import open_store
from raytrain import checkpoint
from raytrain.claim import claim
from raytrain.engine import EngineState
from raytrain.job import Job
from raytrain.state import TrainState

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {
    "eval nowhere --data data": "nowhere holds no checkpoint",
    "eval run --data nowhere": "no shard set at nowhere",
    "eval run --data data": "predicts 3 classes, data has 8",
    "eval run --data data --split test": "has no split 'test'",
    "eval same --data data --ema": "holds no average of the weights",
    "export nowhere --out w.pth": "nowhere holds no checkpoint",
    "export run --out w.onnx": "--out w.onnx: the name says the kind of file",
    "export run --out w.pth --layout keras": "--layout keras: it is raytrain,",
    "export run --out w.pth --layout microsoft": "nothing is written in Microsoft's names",
    "export run --out w.pth --ema": "holds no average of the weights",
    "export run --out there.pth": "there.pth is there already",
    "tune nope --data data --out sweep": "unknown recipe 'nope'",
    "tune smoke_swin_22k --data nowhere --out sweep": "no shard set at nowhere",
    "tune smoke_swin_22k --data data --out sweep --space lr=0:1": "has no field 'lr'",
    "tune smoke_swin_22k --data data --out sweep --executor here --concurrency 2": "one trial at a time",
    "improve nope --data data --out study --target top1>=0.5 --budget 1": "unknown recipe 'nope'",
    "improve smoke_swin_22k --data data --out study --target top1 --budget 1": "--target top1: it has no metric",
    "improve smoke_swin_22k --data data --out study --target top1>=0.5 --budget 1": "minival",
    "train nope --data data --out new": "unknown recipe 'nope'",
    "train smoke_swin_22k --data data --out run": "run holds another run; the plans differ in",
    "train smoke_swin_22k --data data --out data": "data holds other files (shardset.json, ...)",
    "train smoke_swin_22k --data data --out there.pth": "there.pth is a file; use a folder for --out",
    "train smoke_swin_22k --data data --out new --engine torch --zero 2": "--zero 2: --engine torch has no ZeRO",
}
PROGRAM = """
import contextlib, io, json, sys
from raytrain.console import main
told = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["raytrain", *command.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    heavy = [name for name in ("torch", "ray", "optuna") if name in sys.modules]
    told.append([code, out.getvalue(), err.getvalue(), heavy])
print(json.dumps(told))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of 8 classes; a run of a network with 3, with a checkpoint and no average; one with the set's classes."""
    shardset = paper_shardset()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shardset.json").write_text(shardset.model_dump_json())
    engine = EngineState(model={}, moments={}, applied=0, ema=None)
    for name, classes in (("run", ("n01", "n02", "n03")), ("same", shardset.classes)):
        run = tmp_path / name
        checkpoint.save(open_store(str(run)), tiny_plan(), classes, TrainState(step=3), engine, 1)
        claim(Job(plan=tiny_plan(), data_url="d", run=str(run)))
    (tmp_path / "there.pth").write_bytes(b"mine")
    return tmp_path


def test_what_is_wrong_is_said_at_once(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(COMMANDS))],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (command, said), (code, out, err, heavy) in zip(
        COMMANDS.items(), json.loads(done.stdout), strict=True
    ):
        assert code in (1, 2), command
        assert err.startswith("error: "), command
        assert said in err, command
        assert (out, heavy) == ("", []), command
