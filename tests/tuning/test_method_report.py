"""The page and the journal of a methodology study, recorded in the made-up world."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from page_text import skeleton
from toy_world import CHANGES, ToyWorld, spec

from tuning.ledger import LEDGER, Called, Ledger
from tuning.method.answers import accepting
from tuning.method.floor import parse_floor
from tuning.method.loop import Answerer, begin, carry_on
from tuning.method.rows import ROWS, Answered, Force, Pin, Proposal, Reject, Row, Started
from tuning.method.state import MethodState
from tuning.method.target import parse_target
from tuning.method.values import Check, Point, Reading, Trial
from tuning.method.world import World
from tuning.report.journal import journal
from tuning.report.made import changes_made
from tuning.report.method import method_book
from tuning.report.render import page
from tuning.report.stations import stations
from tuning.report.study import read_study

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GREEN = Check(name="initial loss", green=True, found="2.31 against ln 10 = 2.303")


class Curved(ToyWorld):
    """Trainings are evaluated on the way."""

    def reading(self, trial: Trial) -> Reading:
        found = super().reading(trial)
        end = found.minival.share if found.minival else 0.0
        points = [
            Point(samples=n * 250_000, train=end - 0.05, minival=end + 0.1 * (4 - n)) for n in range(1, 5)
        ]
        return found.model_copy(update={"curve": tuple(points)})


def overruling(proposal: Proposal, state: MethodState, world: World) -> Answered:
    """A person: pins a field, rejects the first change, and forces one that nobody needs."""
    if not state.pinned:
        return Answered(answer=Pin(path="model.drop_path"), by="person")
    if not state.rejected:
        return Answered(answer=Reject(reason="two cards is all we have | for now"), by="person")
    if len(state.accepted) == 1:
        return Answered(answer=Force(change=CHANGES[6]), by="person")
    return accepting(proposal, state, world)


def recorded(folder: Path, world: ToyWorld, wanted: Started, answer: Answerer) -> list[Row]:
    ledger: Ledger[Row] = Ledger(folder, ROWS, copy=None, say=lambda _: None)
    begin(ledger, wanted, world)
    typed = "raytrain improve toy --target 'error<=0.2' --budget 400"
    ledger.add(Called(command=typed, workers=2, train="raytrain train toy --data d --out best"))
    carry_on(ledger, world, answer, lambda _: None)
    return ledger.rows


def times(rows: list[Row]) -> list[datetime]:
    return [BEGAN + timedelta(minutes=number) for number in range(len(rows))]


def overruled(folder: Path) -> list[Row]:
    wanted = spec(target=parse_target("error<=0.2"), floor=parse_floor("human:0.05"), budget=400)
    return recorded(folder, Curved(capacity=0.1, lr=0.05, checks=[GREEN]), wanted, overruling)


def test_an_overruled_study_reads_as_accepted(tmp_path, golden):
    rows = overruled(tmp_path)
    book = method_book(rows, times(rows))
    golden("tuning/method_journal.md", journal(book))
    html = page(book)
    golden("tuning/method_page.txt", skeleton(html, tmp_path))
    assert "#0001" not in html


def test_nothing_that_a_person_writes_is_markup(tmp_path):
    rows = overruled(tmp_path)
    hostile = [
        row.model_copy(update={"answer": Reject(reason="<script>alert(1)</script>")})
        if isinstance(row, Answered) and isinstance(row.answer, Reject)
        else row
        for row in rows
    ]
    html = page(method_book(hostile, times(rows)))
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_a_study_has_a_page_after_every_row(tmp_path):
    rows = overruled(tmp_path)
    lines = (tmp_path / LEDGER).read_bytes().splitlines(keepends=True)
    for kept in range(1, len(rows) + 1, 3):
        (tmp_path / LEDGER).write_bytes(b"".join(lines[:kept]))
        book = read_study(tmp_path)
        assert journal(book)
    assert book == read_study(tmp_path)


@pytest.mark.parametrize(
    ("planted", "name", "refused"),
    [({"capacity": 0.1}, "wider", ["tuned again"]), ({"length": 0.1}, "twice as long", ["boundary"])],
)
def test_a_change_that_is_the_last_thing_paid_for_is_refused(
    tmp_path: Path, planted: dict[str, float], name: str, refused: list[str]
) -> None:
    (made,) = changes_made(recorded(tmp_path, ToyWorld(**planted), spec(budget=20), accepting))
    assert made.change.name == name
    assert [condition.name for condition in made.refused] == refused


def test_a_change_that_nobody_tried_is_refused(tmp_path):
    untried = CHANGES[0].model_copy(update={"name": "untried", "settings": {"model.heads": 8}})

    def force(proposal: Proposal, state: MethodState, world: World) -> Answered:
        if not state.accepted:
            return Answered(answer=Force(change=untried), by="person")
        return accepting(proposal, state, world)

    made, *_ = changes_made(recorded(tmp_path, ToyWorld(lr=0.05), spec(budget=60), force))
    assert made.forced
    assert made.effect is None
    assert {"samples", "effect"} <= {condition.name for condition in made.refused}


def test_each_incumbent_is_a_station_with_its_error(tmp_path):
    rows = recorded(tmp_path, ToyWorld(capacity=0.1, lr=0.05, noise=0.0), spec(), accepting)
    passed = stations(rows)
    assert [station.name for station in passed] == ["start", "wider", "lr x 3"]
    assert [round(station.gaps.minival, 4) for station in passed] == [0.29, 0.2, 0.155]
    assert passed[-1].gaps.remaining == pytest.approx(0.145)


def test_without_a_floor_the_bias_has_an_upper_end_alone(tmp_path):
    rows = recorded(tmp_path, ToyWorld(capacity=0.1, noise=0.0), spec(), accepting)
    (gaps,) = [section for section in method_book(rows, times(rows)).sections if section.title == "The gaps"]
    assert gaps.tables[0].rows[0][:3] == ("bias", "at most +19.00", "at most +10.00")


def test_short_rounds_and_full_length_are_told_apart(tmp_path):
    rows = recorded(tmp_path, ToyWorld(lr=0.05, data=0.001), spec(length=0.25), accepting)
    assert [station.name for station in stations(rows)] == ["start", "lr x 3", "full length"]


def test_saved_are_the_pairs_that_nothing_hung_on(tmp_path):
    rows = overruled(tmp_path)
    (cost,) = [
        section for section in method_book(rows, times(rows)).sections if section.title == "What it cost"
    ]
    by_name = {row[0]: row[2] for row in cost.tables[0].rows}
    assert by_name["in all"] == "41.8"
    assert float(by_name["saved: pairs left out, of 8 a probe"]) < 200
