"""The tables of a methodology's page: where it stands, gaps, checks, what people said, what it cost, every training."""

from collections.abc import Sequence
from datetime import datetime

from tuning.ledger import Called
from tuning.method.probes import MOST
from tuning.method.rows import Answered, Force, Funded, Row, Trained
from tuning.method.state import MethodState
from tuning.method.values import Effect
from tuning.report.book import Section, Table
from tuning.report.condition import cells, columns
from tuning.report.made import ChangeVerdict
from tuning.report.method_plots import way
from tuning.report.method_rounds import answer_text
from tuning.report.stations import Station, Turn
from tuning.report.words import at, hours, with_settings


def standing(found: Sequence[Station], state: MethodState) -> Section:
    """The target against now, with intervals, and the way there."""
    spec = state.spec
    rows = [("target", f"{spec.target.error:.2%}", "-", f"{spec.target.text}: {spec.target.source}")]
    if spec.floor.known:
        low, high = spec.floor.low, spec.floor.high
        span = f"{high:.2%}" if low == high else f"{low:.2%} to {high:.2%}"
        rows.append(("floor", span, "-", spec.floor.source))
    for name, station in [("start", found[0]), ("now", found[-1])] if found else []:
        gaps = station.gaps
        error = f"{200 * gaps.standard_error:.2f}"
        rows.append((f"{name}, held-out", f"{gaps.minival:.2%}", error, f"{gaps.n} seeds{_length(station)}"))
    if found:
        rows.append(("now, clean training images", f"{found[-1].gaps.train:.2%}", "-", ""))
    for number, look in enumerate(state.looks, start=1):
        error = f"{200 * look.rate.standard_error:.2f}"
        rows.append((f"val, look {number}", f"{look.rate.share:.2%}", error, f"{look.rate.of:,} images"))
    return Section(
        title="The target and now",
        note=f"{len(state.looks)} look{'' if len(state.looks) == 1 else 's'} at val",
        plots=(way(found),) if found else (),
        tables=(Table(head=("", "error", "± 2 standard errors", ""), rows=tuple(rows)),),
    )


def _length(station: Station) -> str:
    length = station.state.trial(0).length
    return "" if length == 1 else f", {length:g} x the recipe's epochs"


def gap_table(found: Sequence[Station]) -> Section:
    """Between the errors, at the start and now."""
    if not found:
        return Section(title="The gaps")
    start, now = found[0].gaps, found[-1].gaps

    def points(low: float, high: float | None = None) -> str:
        same = high is None or abs(high - low) < 1e-9
        return f"{100 * low:+.2f}" if same or high is None else f"{100 * low:+.2f} to {100 * high:+.2f}"

    def bias(station: Station) -> str:
        low, high = station.gaps.bias
        return points(low, high) if station.state.spec.floor.known else f"at most {points(high)}"

    rows = (
        ("bias", bias(found[0]), bias(found[-1]), "clean training images, over the floor"),
        ("variance", points(start.variance), points(now.variance), "held-out over clean training images"),
        (
            "mismatch",
            "-",
            points(now.mismatch) if now.mismatch is not None else "-",
            "val over held-out images, once it was looked at",
        ),
        ("remaining", points(start.remaining), points(now.remaining), "held-out over the target"),
        ("noise of seeds", points(start.seed_noise)[1:], points(now.seed_noise)[1:], "standard deviation"),
    )
    table = Table(head=("gap", "start, points", "now, points", "of what"), rows=rows)
    return Section(title="The gaps", note="they order what is tried, and decide nothing", tables=(table,))


def made_table(found: Sequence[ChangeVerdict]) -> Section:
    """The changes, and whether each counts."""
    title, note = "The changes that were made", "one counts where every check holds"
    if not found:
        return Section(title=title, text=("None by now.",))
    names = columns(one.conditions for one in found)
    rows = tuple(
        (
            str(one.round),
            one.change.name,
            f"{'forced' if one.forced else 'accepted'} by {'--auto' if one.by == 'auto' else 'a person'}",
            "refused" if one.refused else "stands",
            *cells(one.conditions, names),
        )
        for one in found
    )
    tables = [
        Table(
            head=("round", "change", "by", "verdict", *names),
            rows=rows,
            note="samples: pairs of trainings that differ in it alone. effect: points of held-out error, beyond 3 "
            "standard errors and the least effect that matters. boundary: whether one step more of its kind was tried. "
            "tuned again: whether other learning rates were tried on the larger network.",
        )
    ]
    refusals = tuple(
        (one.change.name, condition.name, condition.found, condition.remedy)
        for one in found
        for condition in one.refused
    )
    tables += [Table(head=("change", "refused by", "found", "what helps"), rows=refusals)] if refusals else []
    return Section(title=title, note=note, tables=tuple(tables))


def preflight(state: MethodState) -> Section:
    """The checks before anything was spent."""
    if state.checks is None:
        return Section(title="Before anything was spent", text=("The checks were not run yet.",))
    if not state.checks:
        return Section(title="Before anything was spent", text=("Nothing was checked.",))
    red = any(not check.green for check in state.checks)
    rows = tuple(
        (check.name, "✓ green" if check.green else "✗ red", check.found, *([check.fix] if red else []))
        for check in state.checks
    )
    head = ("check", "", "found", *(["what to do"] if red else []))
    return Section(title="Before anything was spent", tables=(Table(head=head, rows=rows),))


def overrides(rows: Sequence[Row], times: Sequence[datetime]) -> Section:
    """What people said, and where --auto did not do as proposed."""
    said = [
        (at(time), answer_text(row))
        for row, time in zip(rows, times, strict=True)
        if isinstance(row, Answered)
        and (row.answer.kind != "accept")
        and (row.by == "person" or _forced(row))
    ]
    title = "Overrides"
    if not said:
        return Section(title=title, text=("None: nobody said other than was proposed.",))
    return Section(title=title, tables=(Table(head=("when", "what"), rows=tuple(said)),))


def _forced(row: Answered) -> bool:
    return isinstance(row.answer, Force)


def cost(rows: Sequence[Row], turns: Sequence[Turn], state: MethodState) -> Section:
    """GPU-hours by what they were for; and those of pairs that were left out because nothing hung on them."""
    spent: dict[str, list[float]] = {}
    for row in rows:
        if isinstance(row, Trained):
            name = f"probes: {row.trial.change.name}" if row.trial.change else "incumbents"
            spent.setdefault(name, []).append(row.reading.gpu_hours)
    lines = [(name, str(len(found)), hours(sum(found))) for name, found in spent.items()]
    count = sum(len(found) for found in spent.values())
    saved = sum((MOST - one.n) * one.gpu_hours / one.n for one in _probed(turns))
    total = sum(sum(found) for found in spent.values())
    lines.append(("in all", str(count), hours(total)))
    lines.append(("left of the budget", "", hours(state.budget - total)))
    lines.append((f"saved: pairs left out, of {MOST} a probe", "", hours(saved)))
    funded = [row.budget for row in rows if isinstance(row, Funded)]
    grown = "".join(f", then {hours(budget)}" for budget in funded)
    return Section(
        title="What it cost",
        note=f"budget {hours(state.spec.budget)} GPU-hours{grown}; worker-hours without GPUs",
        tables=(Table(head=("", "trainings", "GPU-hours"), rows=tuple(lines)),),
    )


def _probed(turns: Sequence[Turn]) -> list[Effect]:
    """Every probe once, with all its pairs: what was asked again rests on the same ones."""
    found: dict[tuple[str, float, str], Effect] = {}
    for turn in turns:
        now = turn.state.trial(0)
        for one in turn.proposal.verdict.effects:
            found[str(sorted(now.settings.items())), now.length, one.change.name] = one
    return list(found.values())


def trainings(rows: Sequence[Row], times: Sequence[datetime]) -> Section:
    """Every training, in the order in which they ended."""
    lines: list[tuple[str, ...]] = []
    for row, time in zip(rows, times, strict=True):
        if isinstance(row, Trained):
            trial, reading = row.trial, row.reading
            sets = [f"{path}={value}" for path, value in trial.settings.items()]
            sets += [f"{trial.length:g} x the epochs"] if trial.length != 1 else []
            lines.append(
                (
                    at(time),
                    trial.change.name if trial.change else "incumbent",
                    ", ".join(sets),
                    str(trial.seed),
                    f"{reading.minival.share:.2%}" if reading.minival else "-",
                    f"{reading.train.share:.2%}" if reading.train else "-",
                    hours(reading.gpu_hours),
                    reading.state + (f": {reading.problem}" if reading.problem else ""),
                )
            )
    head = (
        "when",
        "change",
        "to the recipe with",
        "seed",
        "held-out",
        "clean training",
        "GPU-hours",
        "state",
    )
    return Section(
        title="All trainings",
        note="UTC, at their ends",
        tables=(Table(head=head, rows=tuple(lines)),) if lines else (),
    )


def untested(state: MethodState, turns: Sequence[Turn]) -> Section:
    """What nothing here can exclude."""
    title, note = "What was not tested", "and so is not excluded"
    if not turns and state.finished is None:
        return Section(title=title, note=note, text=("All: no change was judged yet.",))
    last = turns[-1].proposal.verdict.untested if turns else ()
    ended = state.finished.verdict if state.finished else None
    said = [*(ended.untested if ended else last), *(f"{path}: pinned" for path in state.pinned)]
    text = tuple(f"{one}." for one in dict.fromkeys(said)) or ("Nothing that was offered.",)
    return Section(title=title, note=note, text=text)


def commands(rows: Sequence[Row], state: MethodState) -> Section:
    """What was typed, and the recipe that it came to."""
    calls = [row for row in rows if isinstance(row, Called)]
    typed = tuple(call.command for call in calls)
    if not calls or not calls[-1].train or not state.settings:
        return Section(title="The commands", commands=typed)
    epochs = f", and --set epochs to {state.length:g} x its own" if state.length != 1 else ""
    return Section(
        title="The commands",
        text=(f"The last one trains the recipe as it is now{epochs}.",),
        commands=(*typed, with_settings(calls[-1].train, state.settings)),
    )
