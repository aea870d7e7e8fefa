"""`raytrain tune` without Ray: what it runs, what it says in the end, and what it refuses."""

import io
import json
import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest
from commands import runner
from recorded import LENGTH, fit, read_recording, recording, study
from rich.console import Console
from small_sweeps import small_set

from raytrain.errors import RunError, UsageError
from raytrain.runlog import read_plan
from raytrain.settings import change, parse
from tuning.cli import _tell
from tuning.search.engine import run_sweep
from tuning.search.halving import rungs_of
from tuning.search.replay import ReplayExecutor
from tuning.search.session import Request, asked_objectives, sweep
from tuning.search.table import Found, hours, in_json, table, winner, words

QUICK = (
    "epochs=2", "global_batch=16", "evaluate_epochs=9", "checkpoint_epochs=9", "model.depths=[2]", "model.embed_dim=16",
    "model.head_dim=8", "precision=fp32",
)  # fmt: skip


def judged(tmp_path, trials=14):
    """A replayed sweep whose gate opens, with a second objective that gets worse as the error gets better."""
    lines = recording(tmp_path / "curves.csv", "monotone").read_text().splitlines()
    head, *rows = lines
    costs = [f"{row},{2 - float(row.split(',')[2]):.4f}" for row in rows]
    (tmp_path / "curves.csv").write_text("\n".join([f"{head},gmacs", *costs]))
    held = read_recording(tmp_path / "curves.csv")
    asked = study(held, rungs_of(LENGTH)).model_copy(update={"objectives": ("error", "gmacs")})
    return run_sweep(
        asked, out=tmp_path / "out", trials=trials, executor=nullcontext(ReplayExecutor(held)), fits=fit, copy=None,
        say=lambda _: None,
    )  # fmt: skip


def test_the_table_tells_states_rungs_the_gate_and_the_cost(tmp_path, golden):
    state = judged(tmp_path)
    page = io.StringIO()
    Console(file=page, width=110).print(table(state))
    told = words(Found(state=state, workers=8, command=""))
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    golden("tuning/sweep_table.txt", "\n".join([*lines, "", *told]) + "\n")


def test_what_stopped_trials_would_have_cost_is_saved(tmp_path):
    state = judged(tmp_path)
    stopped = sum(trial.rung == 0 for trial in state.trials)
    assert stopped > 0
    found = hours(state, 2)
    assert found.saved == pytest.approx(stopped * 8 * 2 / 3600)  # each went half of its 16 seconds
    assert found.spent == pytest.approx((14 * 16 - stopped * 8) * 2 / 3600)


def test_a_sweep_without_a_trial_at_its_end_says_why(tmp_path):
    (tmp_path / "curves.csv").write_text(
        "config,samples,error,seconds\na,512,nan,1\na,1024,nan,2\nb,512,nan,1\n"
    )
    held = read_recording(tmp_path / "curves.csv")
    state = run_sweep(
        study(held, rungs_of(LENGTH)), out=tmp_path / "out", trials=2, executor=nullcontext(ReplayExecutor(held)),
        fits=fit, copy=None, say=lambda _: None,
    )  # fmt: skip
    with pytest.raises(RunError, match="no trial of 2 was trained to its end"):
        winner(state)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("command"))


def request(data: str, out: Path, **changes) -> Request:
    asked = Request(
        recipe="smoke_swin_22k", data=data, out=out, space=("optimizer.lr=log:1e-4:1e-2",), strategy="sobol",
        objectives=("error",), batch=4, seed=0, where="here", fleet="local", workers=None, settings=QUICK, init=None,
        init_classes=None,
    )  # fmt: skip
    return asked.model_copy(update=changes)


def run(asked: Request, trials: int = 2, concurrency: int | None = None) -> Found:
    return sweep(
        asked, trials=trials, concurrency=concurrency, address=None, copy=None, typed="raytrain tune ..."
    )


def test_a_sweep_here_from_the_options_to_a_command_to_paste(data, tmp_path, capsys):
    out = tmp_path / "sweep"
    found = run(request(data, out))
    _tell(found, out, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in told["trials"]] == ["done", "done"]
    assert told["trials"][0]["values"]["error"] == 1 - read_top1(out, told["best"])
    assert told["worker_hours"]["saved"] == 0
    assert (out / "optuna.db").exists()
    assert told["command"] in (out / "journal.md").read_text().splitlines()
    assert "<svg" in (out / "report.html").read_text()

    words = shlex.split(told["command"])
    settings = parse([words[at + 1] for at, word in enumerate(words) if word == "--set"])
    held = read_plan(out / "trials" / f"{told['best']:03d}")
    assert change(held.recipe, settings) == held.recipe
    assert words[words.index("--engine") + 1] == "torch"

    before = (out / "ledger.jsonl").read_bytes()
    assert in_json(run(request(data, out))) == in_json(found)
    assert (out / "ledger.jsonl").read_bytes() == before, "the same command again has nothing to do"
    with pytest.raises(RunError, match=r"holds another sweep; they differ in\n  --seed: 0 -> 7"):
        run(request(data, out, seed=7))


def read_top1(out: Path, trial: int) -> float:
    return json.loads((out / "trials" / f"{trial:03d}" / "evaluation.json").read_text())["evaluation"]["top1"]


@pytest.mark.parametrize(
    ("changes", "concurrency", "told"),
    [
        ({"space": ("epochs=1:3",)}, None, "trials of different lengths cannot be compared"),
        ({"space": ("optimizer.lrr=0:1",)}, None, "no field 'optimizer.lrr'"),
        ({"workers": 2}, None, "--workers 2: --executor here trains with one;"),
        ({}, 2, "--concurrency 2: --executor here trains one trial at a time"),
    ],
)
def test_a_wrong_wish_is_refused_before_anything_is_trained(data, tmp_path, changes, concurrency, told):
    with pytest.raises(UsageError, match=told):
        run(request(data, tmp_path / "sweep", **changes), concurrency=concurrency)
    assert not (tmp_path / "sweep" / "trials").exists()


@pytest.mark.parametrize("command", ["tune", "improve --target top1>=0.5 --budget 1"])
def test_a_choice_that_there_is_not_is_told_without_its_machinery(monkeypatch, capsys, command):
    raytrain = runner(monkeypatch, capsys)
    said = raytrain(*command.split(), "r", "--data", "d", "--out", "o", "--executor", "nope")
    assert said.code == 2
    assert "Invalid value for '--executor': 'nope' is not one of 'ray', 'here'." in said.err


def test_objectives_are_known_and_the_error_is_always_first():
    assert asked_objectives(["gmacs", "error"]) == ("error", "gmacs")
    with pytest.raises(UsageError, match="--objective flops: it is one of error, gmacs, images_per_second"):
        asked_objectives(["flops"])
