"""The page and the journal of a sweep: what they say, when a verdict is refused, and that they come from the ledger."""

import itertools
import json
import re
import shlex
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from page_text import skeleton
from recorded import LENGTH, ReplayExecutor, fit, read_recording, recording
from typer.testing import CliRunner

from raytrain.errors import UsageError
from tuning.dimension import Choice, Ladder, Range
from tuning.ledger import LEDGER, Called, Ledger
from tuning.report.cli import app
from tuning.report.conditions import by_luck, verdicts, winner_again
from tuning.report.importance import importance
from tuning.report.journal import journal
from tuning.report.render import page
from tuning.report.study import read_study
from tuning.report.sweep import sweep_book
from tuning.report.words import value, with_settings
from tuning.search.engine import run_sweep
from tuning.search.halving import rungs_of
from tuning.search.rows import ROWS, Study, replay
from tuning.search.state import told
from tuning.search.values import RungResult
from tuning.space import Param, Space

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Surface:
    """An executor whose errors are a function of the point; None is a divergence."""

    def __init__(self, error):
        self.error = error

    def run(self, jobs, done):
        for job in jobs:
            found = self.error(job.changes, job.samples / LENGTH)
            state = "done" if found is not None else "diverged"
            problem = "" if found is not None else "the loss is not finite"
            done(
                job,
                RungResult(
                    state=state, samples=job.samples, error=found, values={}, seconds=8.0, problem=problem
                ),
            )


def space(**dimensions):
    params = tuple(
        Param(
            name=name, paths=getattr(dimension, "paths", (name,)), dimension=dimension,
            role="nuisance" if name == "optimizer.lr" and len(dimensions) > 1 else "scientific",
        )
        for name, dimension in dimensions.items()
    )  # fmt: skip
    own = {"optimizer.lr": 1e-3, "model.drop_path": 0.1, "optimizer.weight_decay": 0.05, "model.depths": 4}
    return Space(name="made up", params=params, own=own)


def swept(folder, of, error, *, trials=24, strategy="sobol", now=None):
    """The rows and times of a sweep over a surface, with the errors of 1,000 images."""
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(
        base={"recipe": {"name": "made_up"}, "data": {"eval_samples": 1000}}, space=of, strategy=strategy, seed=0,
        batch=4, objectives=("error",), rungs=rungs_of(LENGTH),
    )  # fmt: skip
    run_sweep(
        study, out=folder, trials=trials, executor=nullcontext(Surface(error)), fits=fit, copy=None, say=lambda _: None,
        call=Called(
            command="raytrain tune made_up --data d --out there --trials 24",
            workers=4,
            train="raytrain train made_up --data d --out there/best --set model.drop_path=0.1 --set epochs=2",
        ),
    )  # fmt: skip
    rows = Ledger(folder, ROWS, copy=None, say=lambda _: None).rows
    return rows, [BEGAN + timedelta(minutes=number) for number in range(len(rows))]


def bowl(changes, share):
    """Best at a learning rate of 3e-3 and any drop path; diverges from 3e-2 on."""
    off = np.log10(changes.get("optimizer.lr", 1e-3)) + 2.5
    return None if off > 1 else float(0.2 + 0.1 * off**2 + 0.3 * (1 - share))


LR = Range(low=1e-5, high=1e-1, log=True)
DROP = Range(low=0.0, high=0.4)


def judged(tmp_path, of, error, **options):
    rows, _ = swept(tmp_path, of, error, **options)
    return {one.param: one for one in verdicts(replay(rows))}


def test_a_recorded_sweep_reads_as_accepted(tmp_path, golden):
    rows, times = swept(tmp_path, space(**{"optimizer.lr": LR, "model.drop_path": DROP}), bowl)
    book = sweep_book(rows, times, tmp_path)
    golden("tuning/sweep_journal.md", journal(book))


def test_a_replayed_sweep_whose_ranks_mislead_reads_as_accepted(tmp_path, golden):
    held = read_recording(recording(tmp_path / "curves.csv", "crossing", configs=6))
    param = Param(
        name="config", paths=("config",), role="scientific", dimension=Choice(values=tuple(held.curves))
    )
    study = Study(
        base={"recording": held.digest}, space=Space(name="curves", params=(param,), own={"config": "c0"}),
        strategy="sobol", seed=0, batch=4, objectives=("error",), rungs=rungs_of(LENGTH),
    )  # fmt: skip
    run_sweep(
        study, out=tmp_path / "out", trials=8, executor=nullcontext(ReplayExecutor(held)), fits=fit, copy=None,
        say=lambda _: None,
    )  # fmt: skip
    rows = Ledger(tmp_path / "out", ROWS, copy=None, say=lambda _: None).rows
    times = [BEGAN + timedelta(minutes=number) for number in range(len(rows))]
    golden("tuning/replay_journal.md", journal(sweep_book(rows, times, tmp_path / "out")))


def test_the_page_reads_as_accepted_and_needs_nothing_else(tmp_path, golden):
    rows, times = swept(tmp_path, space(**{"optimizer.lr": LR, "model.drop_path": DROP}), bowl)
    html = page(sweep_book(rows, times, tmp_path))
    golden("tuning/sweep_page.txt", skeleton(html, tmp_path))
    assert html.count("<svg") == 3
    assert "#0001" not in html
    assert not re.search(r'(src|href)="http', html)


def test_where_the_best_is_at_an_end_the_verdict_is_refused(tmp_path):
    found = judged(
        tmp_path, space(**{"optimizer.lr": LR}), lambda changes, _: changes["optimizer.lr"] * 5 + 0.1
    )
    assert [condition.name for condition in found["optimizer.lr"].refused] == ["boundary"]
    assert "lower end" in found["optimizer.lr"].refused[0].remedy


def test_nothing_lies_below_none_of_it(tmp_path):
    found = judged(
        tmp_path, space(**{"model.drop_path": DROP}), lambda changes, _: 0.1 + changes["model.drop_path"]
    )
    assert found["model.drop_path"].best < 0.02
    assert found["model.drop_path"].refused == ()


def test_a_nuisance_at_its_end_refuses_what_was_asked(tmp_path):
    def error(changes, share):
        return 0.1 - 0.1 * np.log10(changes["optimizer.lr"]) + 0.3 * abs(changes["model.drop_path"] - 0.2)

    of = space(**{"optimizer.lr": LR, "model.drop_path": DROP})
    found = judged(tmp_path, of, error, trials=32)
    assert "boundary" in [condition.name for condition in found["optimizer.lr"].refused]
    assert found["model.drop_path"].refused[0].name == "nuisance"


def test_points_that_tpe_chose_do_not_count(tmp_path):
    found = judged(tmp_path, space(**{"optimizer.lr": LR}), bowl, trials=24, strategy="tpe")
    (samples,) = [condition for condition in found["optimizer.lr"].refused if condition.name == "samples"]
    assert samples.figure == "6 of 12"
    assert "16 that TPE chose do not count" in samples.found


def test_a_larger_network_at_another_ones_learning_rate_is_no_answer(tmp_path):
    ladder = Ladder(rungs={"T": {"model.depths": 2}, "S": {"model.depths": 4}, "B": {"model.depths": 6}})

    def error(changes, share):
        return 0.3 + abs(changes["model.depths"] - 4) / 20 + changes.get("model.drop_path", 0.1)

    found = judged(tmp_path, space(size=ladder, **{"model.drop_path": DROP}), error, trials=40)["size"]
    assert found.best == "S"
    assert [condition.name for condition in found.refused] == ["tuned again"]
    assert found.refused[0].found == "the learning rate stayed fixed"


def test_where_half_of_the_space_diverges_nothing_counts(tmp_path):
    def error(changes, share):
        return None if changes["optimizer.lr"] > 1e-4 else 0.3

    found = judged(tmp_path, space(**{"optimizer.lr": LR}), error)["optimizer.lr"]
    assert found.refused[0].name == "feasible"


def test_the_permutation_test_is_the_share_of_as_large_differences():
    groups = [[1.0, 2.0], [3.0, 4.0]]
    every = list(itertools.permutations([1.0, 2.0, 3.0, 4.0]))
    exact = np.mean([{order[0], order[1]} in ({1.0, 2.0}, {3.0, 4.0}) for order in every])
    assert by_luck(groups, np.random.default_rng(0)) == pytest.approx(exact, abs=0.04)
    assert by_luck([[1.0, 1.0], [1.0]], np.random.default_rng(0)) == 1.0


def test_a_winner_by_one_lucky_trial_is_not_stable():
    rng = np.random.default_rng(0)
    assert winner_again([[0.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 1.0]], rng) == pytest.approx(
        1 - 0.75**4, abs=0.05
    )
    assert winner_again([[0.0, 0.0], [1.0, 1.0]], rng) == 1.0


def test_importance_finds_the_parameter_that_matters(tmp_path):
    rows, _ = swept(tmp_path, space(**{"optimizer.lr": LR, "model.drop_path": DROP}), bowl)
    state = replay(rows)
    shares = importance(state.study.space, told(state), ("error",))
    assert list(shares) == ["optimizer.lr", "model.drop_path"]
    assert shares["optimizer.lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_a_report_is_made_of_a_sweep_that_runs_and_leaves_its_ledger_alone(tmp_path):
    of = space(**{"optimizer.lr": LR})
    swept(tmp_path, of, bowl, trials=4)
    ledger = tmp_path / LEDGER
    whole = ledger.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(whole)):
        cut = b"".join(whole[:kept]) + whole[kept][:30]
        ledger.write_bytes(cut)
        journal(read_study(tmp_path))
        assert ledger.read_bytes() == cut


def test_the_command_sees_that_a_folder_is_a_study(tmp_path):
    swept(tmp_path / "sweep", space(**{"optimizer.lr": LR}), bowl, trials=4)
    told = CliRunner().invoke(app, [str(tmp_path / "sweep")])
    assert told.stdout.splitlines()[0].startswith("Trial 2 has the least error of 4 trials")
    assert told.stdout.splitlines()[-1] == f"report: {tmp_path / 'sweep' / 'report.html'}"
    written = (tmp_path / "sweep" / "journal.md").read_bytes()
    told = CliRunner().invoke(app, [str(tmp_path / "sweep"), "--json"])
    assert json.loads(told.stdout)["title"] == "Sweep of made_up over lr"
    assert (tmp_path / "sweep" / "journal.md").read_bytes() == written
    refused = CliRunner().invoke(app, [str(tmp_path / "sweep"), str(tmp_path)])
    assert isinstance(refused.exception, UsageError)


def test_values_that_stayed_are_words():
    held = (None, True, False, (), [7, 14], 0.30000000000000004, "adamw")
    assert [value(one) for one in held] == ["none", "yes", "no", "none", "7, 14", "0.3", "adamw"]


def test_the_best_is_a_command_that_sets_each_path_once():
    command = "raytrain train r --data 'a b' --set x=1 --set 'model.depths=[2]'"
    again = with_settings(command, {"x": 0.1 + 0.2, "name": "a b"})
    words = shlex.split(again)
    assert words == ["raytrain", "train", "r", "--data", "a b", "--set", "model.depths=[2]", *words[-4:]]
    assert words[-4:] == ["--set", "x=0.30000000000000004", "--set", 'name="a b"']
