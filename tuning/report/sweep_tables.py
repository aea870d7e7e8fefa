"""The tables of a sweep's page: where it stands, its trials, what it cost, what it leaves open, what was typed."""

import math
from collections.abc import Sequence

from raytrain.report.words import MARGIN
from tuning.ledger import Called
from tuning.report.book import Section, Table
from tuning.report.sweep_plots import value_of
from tuning.report.words import hours as in_hours
from tuning.report.words import share, value, with_settings
from tuning.search.rows import SweepState
from tuning.search.state import told
from tuning.search.table import HEADS, UNITS, figure, hours, ranked
from tuning.search.told import Objective, Told, front


def images(state: SweepState) -> int | None:
    """How many held-out images the errors are of, where the study says."""
    data = state.study.base.get("data")
    return int(data["eval_samples"]) if data else None


def head(name: str) -> str:
    """A parameter's name for people."""
    return HEADS.get(name, name)


def best_rows(state: SweepState) -> list[Told]:
    """Trials that were trained to their ends, the best first."""
    return [row for row in ranked(state) if row.state == "done"]


def own_row(state: SweepState) -> Told | None:
    """The recipe as it is: trial 0, if it was trained to its end."""
    return next((row for row in best_rows(state) if row.number == 0), None)


def margin(one: Told, other: Told, of: int) -> float:
    """Of a 95 % interval of the difference, as of independent images: they are the same ones, so it is narrower."""
    errors = one.values["error"], other.values["error"]
    return MARGIN * math.sqrt(sum(error * (1 - error) for error in errors) / of)


def standing(state: SweepState) -> Section:
    """The recipe as it is, and the best."""
    best, of = best_rows(state), images(state)
    own = own_row(state)
    rows = [("the recipe as it is", own)] if own else []
    rows += [(f"the best of {len(best)} at their ends", best[0])] if best else []
    objectives = state.study.objectives
    table = Table(
        head=("", "trial", "error", "± 95%", *(UNITS[name] for name in objectives[1:])),
        rows=tuple(
            (
                name,
                str(row.number),
                share(row.values["error"], of),
                f"{100 * MARGIN * math.sqrt(row.values['error'] * (1 - row.values['error']) / of):.2f}"
                if of
                else "-",
                *(_value(row, objective) for objective in objectives[1:]),
            )
            for name, row in rows
        ),
        note="± is the luck of the held-out images alone; no seed was repeated. The best was chosen for being low on "
        "these images, so expect a little more of it on others.",
    )
    return Section(
        title="Then and now",
        note=f"errors on {of:,} held-out images" if of else "recorded errors",
        tables=(table,) if rows else (),
    )


def _value(row: Told, name: Objective) -> str:
    return figure(name, row.values[name]) if name in row.values else "-"


def trials(state: SweepState) -> Section:
    """Every trial, and what went wrong with some."""
    names = [param.name for param in state.study.space.params]
    objectives, of = state.study.objectives, images(state)
    ahead = front(told(state), objectives) if len(objectives) > 1 else []
    rows = []
    for row in ranked(state):
        seen = row.rungs[-1][0] if row.rungs else 0
        error = share(row.values["error"], of) if "error" in row.values else "-"
        rows.append(
            (
                str(row.number),
                *(value_of(row, name) for name in names),
                error,
                *(_value(row, name) for name in objectives[1:]),
                f"{seen / state.study.rungs[-1]:.0%}",
                row.state + (", on the front" if row in ahead else ""),
            )
        )
    heads = (
        *("trial", *map(head, names), "error"),
        *(UNITS[name] for name in objectives[1:]),
        *("trained", "state"),
    )
    problems = tuple((str(row.number), row.problem) for row in ranked(state) if row.problem)
    tables = [Table(head=heads, rows=tuple(rows))]
    tables += [Table(head=("trial", "what went wrong"), rows=problems)] if problems else []
    return Section(title="All trials", note="the best first", tables=tuple(tables))


def cost(state: SweepState, calls: Sequence[Called]) -> Section:
    """Worker-hours."""
    workers = calls[-1].workers if calls else 1
    found = hours(state, workers)
    return Section(
        title="What it cost",
        tables=(
            Table(
                head=("", "worker-hours"),
                rows=(("spent", in_hours(found.spent)), ("saved by early stopping", in_hours(found.saved))),
                note=_per_trial(workers),
            ),
        ),
    )


def _per_trial(workers: int) -> str:
    return (
        f"Of {workers} worker{'s' if workers > 1 else ''} a trial: GPU-hours where each has a GPU. Saved is what the "
        "stopped trials would have taken to their ends, at their own speeds."
    )


def fixed(state: SweepState) -> Section:
    """The caveats: hyper-parameters that were not searched."""
    stays = tuple((path, value(held)) for path, held in state.study.space.fixed.items())
    return Section(
        title="What it says nothing about",
        note="these stayed as the recipe has them",
        text=() if stays else ("Nothing else is known of these curves.",),
        pairs=stays,
    )


def commands(state: SweepState, calls: Sequence[Called]) -> Section:
    """What was typed, and what the best sets beyond it."""
    best = best_rows(state)
    typed = tuple(call.command for call in calls)
    if not best or not calls or not calls[-1].train:
        return Section(title="The commands", commands=typed)
    again = with_settings(calls[-1].train, state.study.space.settings(best[0].point))
    after = (f"The last one trains trial {best[0].number} again.",)
    return Section(title="The commands", text=after, commands=(*typed, again))
