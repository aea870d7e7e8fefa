"""The rounds of a methodology study: each proposal with its evidence, its probes, and what was answered."""

from collections.abc import Sequence

from tuning.method.rows import Accept, Answered, Force, Freeze, Pin, Reject, Row, Started
from tuning.method.tell import MEANING, change_text
from tuning.method.values import Change, Effect
from tuning.report.book import Section, Table
from tuning.report.method_plots import EFFECTS_LEGEND, forest
from tuning.report.stations import Turn, turns
from tuning.report.words import hours


def rounds(rows: Sequence[Row]) -> list[Section]:
    """A section per proposal, in order."""
    found = turns(rows)
    return [_section(turn, before) for before, turn in zip([None, *found], found, strict=False)]


def _section(turn: Turn, before: Turn | None) -> Section:
    verdict, spec = turn.proposal.verdict, turn.state.spec
    wanted = (
        f"Proposed: {change_text(verdict.change)}, {hours(turn.proposal.cost)} GPU-hours a training."
        if verdict.change
        else "Proposed: nothing in the recipe."
    )
    untested = f"Not tested: {'; '.join(verdict.untested)}." if verdict.untested else ""
    if before is not None and _same(turn, before):
        return Section(
            title=f"Round {turn.proposal.round}, asked again",
            text=(
                "The same was found and proposed.",
                answer_text(turn.answered),
                *([untested] if untested else []),
            ),
        )
    effects = verdict.effects
    return Section(
        title=f"Round {turn.proposal.round}: {MEANING[verdict.cause]}",
        note=_note(turn),
        text=tuple(f"{_capital(text)}." for text in verdict.evidence),
        plots=(forest(effects, spec.least),) if effects else (),
        legend=EFFECTS_LEGEND if effects else "",
        tables=(effect_table(effects, spec),) if effects else (),
        after=(
            wanted,
            answer_text(turn.answered),
            *([untested] if untested else []),
            f"What would change it: {verdict.would_change_it}.",
        ),
    )


def _same(turn: Turn, before: Turn) -> bool:
    """Whether only what may be proposed has changed since, and not what is."""
    now, then = turn.proposal.verdict, before.proposal.verdict
    return (turn.proposal.round, now.cause, now.change) == (before.proposal.round, then.cause, then.change)


def _note(turn: Turn) -> str:
    verdict = turn.proposal.verdict
    sure = verdict.confidence
    if sure is None:
        return f"{verdict.cause} · {hours(verdict.gpu_hours)} GPU-hours by then"
    said = "over 99.9%" if sure > 0.999 else f"{100 * sure:.1f}%"
    return f"{verdict.cause} · {said} that it helps · {hours(verdict.gpu_hours)} GPU-hours by then"


def effect_table(effects: Sequence[Effect], spec: Started) -> Table:
    """Every probe: pairs, effect, error and cost."""
    notes = list(dict.fromkeys(f"{one.change.name}: {one.note}" for one in effects if one.note))
    return Table(
        head=(
            "change",
            "pairs",
            "effect, points",
            "standard error",
            "counts beyond",
            "GPU-hours",
            "so",
            "sets",
        ),
        rows=tuple(
            (
                one.change.name,
                str(one.n),
                f"{100 * one.mean:+.2f}",
                f"{100 * one.standard_error:.2f}",
                f"{100 * one.least:.2f}",
                hours(one.gpu_hours),
                effect_word(one, spec),
                sets_text(one.change),
            )
            for one in effects
        ),
        note=". ".join(_capital(note) for note in notes) + ("." if notes else ""),
    )


def effect_word(effect: Effect, spec: Started) -> str:
    """What an effect says by itself."""
    if effect.counts:
        return "helps" if effect.n >= spec.seeds else f"may help: {effect.n} of {spec.seeds} pairs"
    if effect.mean > effect.least:
        return "hurts"
    return "unclear" if effect.mean - 2 * effect.standard_error < -spec.least else "no help"


def sets_text(change: Change) -> str:
    """What a change sets, in the recipe and beside it."""
    sets = [f"{path}={value}" for path, value in change.settings.items()]
    sets += [f"{change.length:g} x the epochs"] if change.length != 1 else []
    sets += [f"{change.data:g} x the images"] if change.data != 1 else []
    return ", ".join([*sets, *(["cleaned labels"] if change.clean_labels else [])])


def answer_text(answered: Answered | None) -> str:
    """What was said to a proposal, and by whom."""
    if answered is None:
        return "It waits for an answer."
    by = "by --auto" if answered.by == "auto" else "by a person"
    match answered.answer:
        case Accept():
            return f"Accepted {by}."
        case Reject(reason=reason):
            return f"Rejected {by}: {reason}."
        case Force(change=change):
            return f"Another change was made {by}: {change_text(change)}."
        case Pin(path=path, settings=settings):
            value = f" at {settings[path]}" if settings else " as it is"
            return f"{path} was pinned{value} {by}."
        case Freeze():
            return f"Frozen {by}: no further change."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
