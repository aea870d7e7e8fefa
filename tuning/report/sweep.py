"""A sweep as a book: what it found, whether that counts, and all that it rests on."""

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tuning.ledger import Called
from tuning.report.book import Book, Section, Table
from tuning.report.condition import cells, columns, why
from tuning.report.conditions import ParamVerdict, verdicts
from tuning.report.importance import AHEAD, FEWEST, importance
from tuning.report.sweep_log import log
from tuning.report.sweep_plots import LEGEND, curves, fronts, isolation
from tuning.report.sweep_tables import (
    best_rows,
    commands,
    cost,
    fixed,
    head,
    images,
    margin,
    own_row,
    standing,
    trials,
)
from tuning.report.words import listed, points, share
from tuning.search.fidelity import reason
from tuning.search.rows import SweepState, replay
from tuning.search.state import told
from tuning.search.values import short

CHECKS = (
    "feasible: trials that came to an error, more than half. samples: trials spread evenly, 12 for each two "
    "parameters. effect: how often luck alone makes such a difference, under 0.05. stable: how often the same value or "
    "third of the range wins again, 90%. boundary: where the best lies between the ends, not within 10% of one. tuned "
    "again: learning rate and a regularizer beside what changes the size."
)


def sweep_book(rows: Sequence[Any], times: Sequence[datetime], study: Path) -> Book:
    """The book of a sweep, however far it came; `study` is where its trials' runs are."""
    state = replay(rows)
    calls = [row for row in rows if isinstance(row, Called)]
    found = verdicts(state)
    sections = [
        standing(state),
        _verdicts(found),
        _isolations(state),
        *([_importance(state)] if len(state.study.space.params) > 1 else []),
        _curves(state, study),
        *([_front(state)] if len(state.study.objectives) > 1 else []),
        trials(state),
        _early(state),
        cost(state, calls),
        fixed(state),
        commands(state, calls),
        Section(title="What happened when", note="UTC", tables=(log(rows, times),)),
    ]
    return Book(title=_title(state), headline=headline(state, found), sections=tuple(sections))


def _title(state: SweepState) -> str:
    recipe = state.study.base.get("recipe")
    name = recipe["name"] if recipe else "recorded curves"
    return f"Sweep of {name} over {listed([head(param.name) for param in state.study.space.params])}"


def headline(state: SweepState, found: Sequence[ParamVerdict]) -> tuple[str, ...]:
    """What it found, and whether that counts, in sentences."""
    best, of = best_rows(state), images(state)
    if not best:
        return (f"None of {len(state.trials)} trials was trained to its end.",)
    first, own = best[0], own_row(state)
    said = f"Trial {first.number} has the least error of {len(state.trials)} trials, {share(first.values['error'], of)}"
    if own == first:
        said += ": it is the recipe as it is"
    elif own is not None:
        difference = own.values["error"] - first.values["error"]
        said += f"; the recipe as it is, {share(own.values['error'], of)}: {points(difference, of)[1:]} points more"
        if of is not None:
            luck = ", which may be luck" if difference < margin(first, own, of) else ""
            said += f"{luck} (95% margin: ±{points(margin(first, own, of), of)[1:]})"
    asked = [one for one in found if one.role == "scientific"]
    stands = [head(one.param) for one in asked if not one.refused]
    refused = [head(one.param) for one in asked if one.refused]
    verdict = []
    if stands:
        verdict.append(f"The verdict on {listed(stands)} stands")
    if refused:
        reasons = listed(why(condition for one in asked for condition in one.refused))
        verdict.append(f"No verdict on {listed(refused)}: {reasons}")
    going = ["It has not ended."] if state.ended is None else []
    return (f"{said}.", *(f"{text}." for text in verdict), *going)


def _verdicts(found: Sequence[ParamVerdict]) -> Section:
    """A row per parameter; below it what refuses, with its numbers and what would help."""
    names = columns(one.conditions for one in found)
    rows = []
    for one in found:
        value = short(one.best) if one.best is not None else "-"
        said = "refused" if one.refused else "stands" if one.role == "scientific" else ""
        rows.append((head(one.param), one.role, value, said, *cells(one.conditions, names)))
    refusals = tuple(
        (head(one.param), condition.name, condition.found, condition.remedy)
        for one in found
        for condition in one.refused
    )
    tables = [
        Table(head=("parameter", "role", "best value", "verdict", *names), rows=tuple(rows), note=CHECKS)
    ]
    if refusals:
        tables.append(Table(head=("parameter", "refused by", "found", "what helps"), rows=refusals))
    return Section(title="The verdicts", note="one counts where every check holds", tables=tuple(tables))


def _isolations(state: SweepState) -> Section:
    return Section(
        title="Each parameter alone",
        note="whatever the others were",
        plots=tuple(isolation(state, param, head(param.name)) for param in state.study.space.params),
        legend=LEGEND,
    )


def _importance(state: SweepState) -> Section:
    title, note = "What matters for being among the best", "PED-ANOVA"
    shares = importance(state.study.space, told(state), state.study.objectives)
    done = len(best_rows(state))
    if shares is None:
        text = f"Not computed: {done} trials were trained to their ends, and it says nothing of fewer than {FEWEST}."
        return Section(title=title, note=note, text=(text,))
    table = Table(
        head=("parameter", "share"),
        rows=tuple((head(name), f"{value:.0%}") for name, value in shares.items()),
        note=f"Of {done} trials at their ends, what tells the best {max(AHEAD, math.ceil(0.1 * done))} from the rest.",
    )
    return Section(title=title, note=note, tables=(table,))


def _curves(state: SweepState, study: Path) -> Section:
    best = best_rows(state)
    return Section(title="On the way", plots=(curves(best, study),) if best else ())


def _front(state: SweepState) -> Section:
    return Section(title="What the error costs", plots=tuple(fronts(state)) if best_rows(state) else ())


def _early(state: SweepState) -> Section:
    text = reason(state)
    return Section(title="Early stopping", text=(text[0].upper() + text[1:] + ".",))
