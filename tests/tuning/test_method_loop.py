"""The loop in a made-up world: what is planted is named, bugs come first, and a kill anywhere changes nothing."""

from pathlib import Path

import pytest
from toy_world import CHANGES, ToyWorld, spec

from raytrain.errors import RunError, UsageError
from tuning.ledger import LEDGER, Ledger
from tuning.method.answers import accepting
from tuning.method.loop import begin, carry_on
from tuning.method.rows import ROWS, Finished, Proposal, Row, Started, Trained
from tuning.method.state import identity, replay
from tuning.method.values import Check, Reading, Trial


def quiet(line: str) -> None:
    pass


def study(folder: Path, world: ToyWorld, wanted: Started | None = None) -> tuple[list[Row], Finished]:
    folder.mkdir(exist_ok=True)
    ledger: Ledger[Row] = Ledger(folder, ROWS, copy=None, say=quiet)
    begin(ledger, wanted or spec(), world)
    return ledger.rows, carry_on(ledger, world, accepting, quiet)


def causes(rows: list[Row]) -> list[str]:
    return [row.verdict.cause for row in rows if isinstance(row, Proposal)]


@pytest.mark.parametrize(
    ("planted", "cause"),
    [
        ({"capacity": 0.1}, "capacity"),
        ({"regularization": 0.05}, "regularization"),
        ({"regularization": -0.05}, "less_regularization"),
        ({"lr": 0.05}, "lr_up"),
        ({"lr": -0.05}, "lr_down"),
        ({"length": 0.1}, "longer"),
        ({"data": 0.1}, "data"),
        ({"data": 0.001}, "floor"),
        ({"capacity": 0.02, "noise": 0.05}, "inconclusive"),
    ],
)
def test_what_is_planted_is_named_first(tmp_path: Path, planted: dict[str, float], cause: str) -> None:
    rows, _ = study(tmp_path, ToyWorld(**planted))
    assert causes(rows)[0] == cause


def test_a_target_is_confirmed_by_seeds_that_did_not_choose_and_one_look(tmp_path: Path) -> None:
    world = ToyWorld(capacity=0.1)
    rows, end = study(tmp_path, world, spec(target=spec().target.model_copy(update={"error": 0.16})))
    assert end.outcome == "met"
    assert world.looks == 1
    wide = [row.trial for row in rows if isinstance(row, Trained) and "model.width" in row.trial.settings]
    chosen = {
        trial.trial.seed for trial in rows if isinstance(trial, Trained) and trial.trial.change == CHANGES[0]
    }
    assert len(wide) == 3
    assert not {trial.seed for trial in wide} & chosen


def test_a_red_check_ends_a_study_before_a_training(tmp_path: Path) -> None:
    red = Check(name="leak", green=False, found="12 images of val are in train", fix="pack again")
    world = ToyWorld(capacity=0.1, checks=[red])
    _, end = study(tmp_path, world)
    assert end.outcome == "bug"
    assert world.trained == []
    assert end.verdict is not None
    assert "12 images of val are in train" in end.verdict.evidence[0]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [({"input_wait": 0.3}, "input"), ({"state": "failed", "problem": "out of memory"}, "bug")],
)
def test_a_stall_is_no_reason_to_change_the_model(
    tmp_path: Path, fields: dict[str, object], outcome: str
) -> None:
    world = ToyWorld(capacity=0.1)
    world.fields = fields
    rows, end = study(tmp_path, world)
    assert end.outcome == outcome
    assert len(world.trained) == 3
    assert causes(rows) == [outcome]


def test_a_kill_after_any_row_changes_nothing(tmp_path: Path) -> None:
    def world() -> ToyWorld:
        made = ToyWorld(capacity=0.1)
        made.offered = tuple(one for one in CHANGES if one.name in ("wider", "half", "quarter", "lr x 3"))
        return made

    whole, _ = study(tmp_path / "whole", world())
    lines = (tmp_path / "whole" / LEDGER).read_bytes().splitlines(keepends=True)
    assert len(lines) > 25
    for kept in range(1, len(lines)):
        folder = tmp_path / f"killed-{kept}"
        folder.mkdir()
        (folder / LEDGER).write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        again = world()
        rows, _ = study(folder, again)
        assert rows == whole, kept
        known = sum(b'"kind":"trained"' in line for line in lines[:kept])
        assert known + len(again.trained) == sum(isinstance(row, Trained) for row in whole)


def test_no_training_is_made_twice(tmp_path: Path) -> None:
    rows, _ = study(tmp_path, ToyWorld(capacity=0.1, lr=0.05, length=0.05))
    trained = [identity(row.trial) for row in rows if isinstance(row, Trained)]
    assert len(replay(rows).accepted) >= 2
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize("budget", [3, 5, 9, 14, 23])
def test_a_budget_is_kept_and_a_larger_one_goes_on(tmp_path: Path, budget: float) -> None:
    world = ToyWorld(capacity=0.1)
    _, end = study(tmp_path, world, spec(budget=budget))
    assert sum(map(world.cost, world.trained)) <= budget
    assert end.outcome == "budget"
    rows, end = study(tmp_path, world, spec(budget=1000))
    assert end.outcome == "data"
    assert causes(rows)[-2:] == ["capacity", "data"]


def test_a_budget_below_one_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--budget 2.5: the baseline alone takes 3 GPU-hours"):
        study(tmp_path, ToyWorld(), spec(budget=2.5))
    assert not (tmp_path / LEDGER).exists()


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    study(tmp_path, ToyWorld())
    with pytest.raises(RunError, match=r"they differ in\n  --least: 0.005 -> 0.01\n"):
        study(tmp_path, ToyWorld(), spec(least=0.01))


def test_short_rounds_end_at_the_whole_length(tmp_path: Path) -> None:
    world = ToyWorld(lr=0.05, data=0.001)
    rows, end = study(tmp_path, world, spec(length=0.25))
    assert causes(rows) == ["lr_up", "floor"]
    lengths = [row.trial.length for row in rows if isinstance(row, Trained)]
    assert lengths[0] == 0.25
    assert lengths[-1] == 1.0
    assert end.outcome == "floor"


def test_a_training_that_failed_is_tried_again_when_somebody_says_so(tmp_path: Path) -> None:
    world = ToyWorld(capacity=0.1)
    world.fields = {"state": "failed", "problem": "out of memory"}
    assert study(tmp_path, world)[1].outcome == "bug"
    world.fields = {}
    rows, end = study(tmp_path, world)
    assert causes(rows) == ["bug", "capacity", "data"]
    assert end.outcome == "data"


def test_a_red_check_is_looked_at_again(tmp_path: Path) -> None:
    world = ToyWorld(capacity=0.1, checks=[Check(name="leak", green=False, found="one", fix="pack")])
    assert study(tmp_path, world)[1].outcome == "bug"
    world.preflight = ()
    rows, _ = study(tmp_path, world)
    assert causes(rows) == ["bug", "capacity", "data"]


def test_a_diverged_baseline_wants_a_lower_rate(tmp_path: Path) -> None:
    class Steep(ToyWorld):
        def reading(self, trial: Trial) -> Reading:
            found = super().reading(trial)
            calm = trial.settings.get("optimizer.lr") == 3e-4
            return found if calm else found.model_copy(update={"state": "diverged", "minival": None})

    rows, _ = study(tmp_path, Steep(data=0.001))
    assert causes(rows)[0] == "numerics"
    assert [change.name for change in replay(rows).accepted] == ["lr / 3"]
