"""A methodology study as a book: the target against now, what is wrong and how we know, and all that it rests on."""

from collections.abc import Sequence
from datetime import datetime

from tuning.method.rows import Row
from tuning.method.state import MethodState, replay
from tuning.method.tell import MEANING
from tuning.report import method_tables as tables
from tuning.report.book import Book, Section
from tuning.report.condition import why
from tuning.report.made import ChangeVerdict, changes_made
from tuning.report.method_log import log
from tuning.report.method_plots import EFFECTS_LEGEND, forest, images, learning
from tuning.report.method_rounds import effect_table, rounds
from tuning.report.stations import Station, stations, turns
from tuning.report.words import listed


def method_book(rows: Sequence[Row], times: Sequence[datetime]) -> Book:
    """The book of a study, however far it came."""
    state, passed, asked = replay(rows), stations(rows), turns(rows)
    made = changes_made(rows)
    return Book(
        title=f"Improving {state.spec.recipe}: {state.spec.target.text}",
        headline=_headline(state, passed, made),
        sections=(
            tables.standing(passed, state),
            tables.gap_table(passed),
            tables.made_table(made),
            *rounds(rows),
            *_end(state),
            *_curves(passed),
            tables.preflight(state),
            tables.overrides(rows, times),
            tables.untested(state, asked),
            tables.cost(rows, asked, state),
            tables.commands(rows, state),
            tables.trainings(rows, times),
            Section(title="What happened when", note="UTC", tables=(log(rows, times),)),
        ),
    )


def _headline(
    state: MethodState, passed: Sequence[Station], made: Sequence[ChangeVerdict]
) -> tuple[str, ...]:
    sentences = [_now(state, passed)]
    if state.finished is not None:
        sentences.append(f"It ended: {MEANING[state.finished.outcome]}.")
    elif state.pending is not None:
        sentences.append(f"An answer is waited for: {MEANING[state.pending.verdict.cause]}.")
    else:
        sentences.append("It has not ended.")
    refused = [one for one in made if one.refused]
    if refused:
        reasons = listed(why(condition for one in refused for condition in one.refused))
        names = listed(list(dict.fromkeys(one.change.name for one in refused)))
        sentences.append(f"Of the changes made, {names} may do nothing: {reasons}.")
    return tuple(sentences)


def _now(state: MethodState, passed: Sequence[Station]) -> str:
    target = state.spec.target.error
    if not passed:
        return f"Nothing was trained yet towards an error of {target:.2%}."
    now, start = passed[-1].gaps, passed[0].gaps
    changes = len(state.accepted)
    after = (
        f" after {changes} change{'s' if changes > 1 else ''} (from {start.minival:.2%})" if changes else ""
    )
    to_go = (
        f"{100 * now.remaining:.2f} points to go"
        if now.remaining > 0
        else f"{-100 * now.remaining:.2f} points below it"
    )
    return f"Held-out error {now.minival:.2%} ± {200 * now.standard_error:.2f}{after}, target {target:.2%}: {to_go}."


def _end(state: MethodState) -> list[Section]:
    ended = state.finished
    if ended is None:
        return []
    verdict = ended.verdict
    unsettled = verdict.effects if verdict and ended.outcome == "budget" else ()
    return [
        Section(
            title=f"The end: {MEANING[ended.outcome]}",
            note=ended.outcome,
            text=(
                f"{ended.text[:1].upper()}{ended.text[1:]}.",
                f"What would change it: {ended.would_change_it}.",
            ),
            plots=(forest(unsettled, state.spec.least),) if unsettled else (),
            legend=EFFECTS_LEGEND if unsettled else "",
            tables=(effect_table(unsettled, state.spec),) if unsettled else (),
        )
    ]


def _curves(passed: Sequence[Station]) -> list[Section]:
    if not passed:
        return []
    plots = [plot for plot in (learning(passed[-1]), images(passed[-1])) if plot is not None]
    return [Section(title="Curves of the best", note=passed[-1].name, plots=tuple(plots))] if plots else []
