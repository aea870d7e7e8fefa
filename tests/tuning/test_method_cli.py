"""`raytrain improve` as a person meets it; what would be trained is made up."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Said, runner
from small_sweeps import small_set
from toy_world import ToyWorld

from tuning.ledger import LEDGER
from tuning.method import person, session


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_set(tmp_path_factory.mktemp("data"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> ToyWorld:
    toy = ToyWorld(capacity=0.1)

    monkeypatch.setattr(session, "world_of", lambda *_: toy)
    monkeypatch.setattr(session, "_report", lambda _: None)  # test_improve_real.py looks at it
    return toy


Improve = Callable[..., Said]


@pytest.fixture
def improve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> Improve:
    raytrain = runner(monkeypatch, capsys)

    def run(*options: object, target: str = "error<=0.16", budget: float = 1000) -> Said:
        study = ("--target", target, "--budget", budget, "--data", data, "--out", tmp_path / "study")
        return raytrain("improve", "smoke_swin_22k", *study, *options)

    return run


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "study" / LEDGER).read_text().splitlines()]


def test_auto_ends_with_the_target_and_one_look(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    said = improve("--auto")
    assert said.code == 0, said.err
    assert "the target is met (met)" in said.out
    assert "wider (model.width=2)" in said.out
    assert "one look at val" in said.out
    assert "proposed         wider (model.width=2)" in said.out
    assert "--auto           accepted" in said.out
    assert rows(tmp_path)[-1]["outcome"] == "met"


def test_without_a_terminal_a_proposal_waits_and_is_answered_by_the_command_it_names(
    improve: Improve, world: ToyWorld, tmp_path: Path
) -> None:
    said = improve()
    assert said.code == 75
    assert "round 1: the network is too small (capacity)" in said.out
    assert "proposed         wider (model.width=2)" in said.out
    command = said.err.split("answer: ")[1].split(" with --accept")[0]
    assert command == shlex.join(sys.argv)
    trained = len(world.trained)
    assert improve("--accept").code == 0
    assert {trial.settings.get("model.width") for trial in world.trained[trained:]} == {2}


def test_a_rejected_change_is_not_proposed_again(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    improve()
    said = improve("--reject", "no room for it")
    assert said.code == 75
    assert "there are too few images (data)" in said.out
    assert "wider: rejected (no room for it)" in said.out


def test_a_forced_change_is_made(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    improve()
    improve("--force", "lr_up")
    assert world.trained[-1].settings == {"optimizer.lr": 3e-3}
    assert [row["answer"]["kind"] for row in rows(tmp_path) if row["kind"] == "answered"] == ["force"]


def test_what_is_pinned_is_not_probed(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    said = improve("--pin", "optimizer.lr", "--pin", "model.drop_path=0.1")
    probed = {trial.change.name for trial in world.trained if trial.change}
    assert probed == {"wider", "half", "quarter", "twice as long"}
    assert "lr x 3: optimizer.lr pinned" in said.out
    assert world.trained[0].settings == {"model.drop_path": 0.1}


def test_a_frozen_study_is_confirmed_and_ends(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    improve()
    trained = len(world.trained)
    said = improve("--freeze")
    assert "Frozen before the target was met" in said.out
    assert (len(world.trained), world.looks) == (trained, 1)


def test_a_dry_run_starts_nothing(improve: Improve, world: ToyWorld, tmp_path: Path) -> None:
    said = improve("--dry-run", budget=20)
    assert said.code == 0
    assert "probe: wider" in said.out
    assert "baseline, over seeds" in said.out
    assert "budget: 20 GPU-hours" in said.out
    assert world.trained == []
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("given", "options", "complaint"),
    [
        ({"target": "0.8"}, (), "--target 0.8: it has no metric and bound"),
        ({"target": "top1>=80"}, (), "80 is no share between 0 and 1"),
        ({"target": "paper:swin_b_385_22k"}, (), "swin_b_384_22k"),
        ({"budget": 2}, (), "--budget 2: the baseline alone takes 3 GPU-hours"),
        ({}, ("--accept",), "there is no study to go on with"),
        ({}, ("--accept", "--freeze"), "--accept and --freeze: one answer at a time"),
        (
            {},
            ("--pin", "optimizer.lrr"),
            "--pin optimizer.lrr: recipe 'smoke_swin_22k' has no such field; the nearest: optimizer.lr, ",
        ),
        (
            {},
            ("--pin", "optimizer.lr", "--pin", "optimizer.lr=0.1"),
            "it is pinned as the recipe has it already",
        ),
        ({}, ("--pin", "optimizer.lr=0.1", "--pin", "optimizer.lr=0.2"), "it is pinned to 0.1 already"),
        ({}, ("--floor", "low"), "--floor low: it is no kind"),
    ],
)
def test_a_mistake_is_one_message(
    improve: Improve, world: ToyWorld, given: dict[str, Any], options: tuple[str, ...], complaint: str
) -> None:
    said = improve(*options, **given)
    assert said.code == 2
    assert complaint in said.err
    assert "Traceback" not in said.err
    assert world.trained == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--pin", "optimizer.lr", "--force", "lr x 3"), "it changes optimizer.lr, which is pinned"),
        (("--force", "lr x 33"), "there is no such change; the nearest: lr x 3"),
        (("--force", "qqq"), "there is no such change; there are: "),
    ],
)
def test_a_change_that_cannot_be_forced_is_one_message(
    improve: Improve, world: ToyWorld, options: tuple[str, ...], complaint: str
) -> None:
    improve()
    trained = len(world.trained)
    said = improve(*options)
    assert said.code == 2
    assert complaint in said.err
    assert len(world.trained) == trained


def test_an_answer_is_given_once_and_pins_go_on_with_the_same_command(
    improve: Improve, world: ToyWorld, tmp_path: Path
) -> None:
    improve("--pin", "model.drop_path")
    improve("--pin", "model.drop_path", "--accept")
    assert [row["answer"]["kind"] for row in rows(tmp_path) if row["kind"] == "answered"] == ["pin", "accept"]
    said = improve("--accept")
    assert said.code == 2
    assert "--accept: nothing is proposed now; the same command without it goes on" in said.err


def test_the_same_command_goes_on_and_another_is_refused_with_the_difference(
    improve: Improve, world: ToyWorld
) -> None:
    assert "there is no study to go on with" in improve("--resume").err
    asked = improve().out
    trained = len(world.trained)
    assert improve().out == asked
    assert improve("--resume").out == asked
    assert len(world.trained) == trained
    said = improve("--set", "optimizer.lr=0.1", target="error<=0.1")
    assert said.code == 1
    assert (
        "holds another study; they differ in\n  --target: error<=0.16 -> error<=0.1\n  lr: 0.002 -> 0.1\n"
        in said.err
    )


def test_data_without_a_minival_is_refused_with_the_way_to_one(improve: Improve, tmp_path: Path) -> None:
    said = improve()
    assert said.code == 2
    assert "has no split minival (it has train, val)" in said.err
    assert "`raytrain data pack SRC --out URL --minival N`" in said.err
    assert not (tmp_path / "study").exists()


def test_a_sweeps_folder_and_a_folder_of_other_files_are_refused(
    improve: Improve, world: ToyWorld, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "notes.txt").write_text("mine")
    assert "study holds other files (notes.txt, ...)" in improve().err
    (study / LEDGER).write_text('{"time":"2026-01-01T00:00:00Z","kind":"study"}\n')
    said = improve()
    assert said.code == 1
    assert "line 1, is no row of such a study: the folder is another command's" in said.err


def test_a_last_line_that_was_cut_is_left_out_and_said(
    improve: Improve, world: ToyWorld, tmp_path: Path
) -> None:
    asked = improve().out
    file = tmp_path / "study" / LEDGER
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    said = improve()
    assert "the last line was not written to its end, and is left out" in said.err
    assert said.out == asked
    assert [row["kind"] for row in rows(tmp_path)] == [
        json.loads(line)["kind"] for line in whole.splitlines()
    ]


def test_a_target_that_is_met_already_ends_after_the_baseline(improve: Improve, world: ToyWorld) -> None:
    said = improve(target="error<=0.5")
    assert said.code == 0
    assert "the target is met (met)" in said.out
    assert (len(world.trained), world.looks) == (3, 1)


def test_ctrl_c_is_to_go_on_later_in_a_training_and_at_the_prompt(
    improve: Improve, world: ToyWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def aborted(_: str) -> str:
        raise person.typer.Abort  # what typer makes of it

    with monkeypatch.context() as pressed:
        pressed.setattr(ToyWorld, "train", interrupted)
        said = improve()
    assert said.code == 75
    assert said.err.endswith("\nthe study was interrupted; the same command continues it\n")
    monkeypatch.setattr(person.typer, "prompt", aborted)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = improve()
    assert said.code == 75
    assert said.err.endswith("the proposal waits; the same command with --resume goes on\n")
    assert [row for row in rows(tmp_path) if row["kind"] == "answered"] == []


def test_a_prompt_takes_answers_until_one_can_be_taken(
    improve: Improve, world: ToyWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = iter(["maybe", "reject", "force nothing", "reject too wide", "stop"])
    monkeypatch.setattr(person.typer, "prompt", lambda _: next(said))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ended = improve()
    assert ended.code == 75
    assert "'maybe' is no answer" in ended.out
    assert "reject: it needs more" in ended.out
    assert "there is no such change" in ended.out
    assert [row["answer"].get("reason") for row in rows(tmp_path) if row["kind"] == "answered"] == [
        "too wide"
    ]
