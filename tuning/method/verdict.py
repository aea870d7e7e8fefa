"""Verdicts: what is worst and how we know, in sentences that hold their numbers."""

from collections.abc import Sequence

from tuning.method.effects import Found
from tuning.method.floor import Floor
from tuning.method.gaps import Gaps
from tuning.method.health import Finding
from tuning.method.probes import Probing
from tuning.method.rows import Proposal
from tuning.method.state import OUTSIDE, MethodState
from tuning.method.student import cdf
from tuning.method.values import Change, Check, Verdict

SURE = 3.0  # standard errors
WHOLE = {"bug": "the same checks green", "input": "images that come in time", "numerics": "finite steps"}


def red(checks: Sequence[Check], state: MethodState) -> Verdict:
    """Of a preflight that is not green: nothing else may be spent."""
    failing = [check for check in checks if not check.green]
    slow = all(check.name == "input speed" for check in failing)
    return Verdict(
        cause="input" if slow else "bug",
        change=None,
        evidence=tuple(f"{check.name}: {check.found}. {check.fix}".rstrip(". ") for check in failing),
        confidence=None,
        gpu_hours=state.spent,
        untested=("the model: it comes after",),
        would_change_it=WHOLE["input" if slow else "bug"],
    )


def unsound(found: Sequence[Finding], state: MethodState, steadier: Change | None) -> Verdict:
    """Of trainings that are not sound. Numbers that are not finite want a lower learning rate, if there is one."""
    first = next(
        finding for cause in ("bug", "input", "numerics") for finding in found if finding.cause == cause
    )
    assert first.cause is not None
    return Verdict(
        cause=first.cause,
        change=steadier if first.cause == "numerics" else None,
        evidence=tuple(finding.text for finding in found),
        confidence=None,
        gpu_hours=state.spent,
        untested=("the model: it comes after",),
        would_change_it=WHOLE[first.cause],
    )


def probed(state: MethodState, probing: Probing, gaps: Gaps, untested: Sequence[str]) -> Verdict:
    """Of probes that are through: the best effect per GPU-hour, or why there is none."""
    winner = probing.winner(state.rejected)
    others = tuple(one.effect for one in _by_worth(probing.found) if one is not winner)
    lowest = gaps.minival + (winner.effect.mean if winner else 0.0)
    if lowest > gaps.chance - SURE * gaps.standard_error and "bug" not in state.waived:
        return _guessing(state, probing, gaps, untested)
    if winner is None:
        return _without(state, probing, gaps, untested)
    needed = probing.curve.needed if probing.curve and winner.candidate.cause == "data" else None
    return Verdict(
        cause=winner.candidate.cause,
        change=None if winner.candidate.change.kind in OUTSIDE else winner.candidate.change,
        evidence=(
            *standing(state, gaps),
            effect_text(winner),
            *([_needed(needed)] if needed else []),
            *_next_best(probing.found, winner),
        ),
        effects=(winner.effect, *others),
        confidence=confidence(winner),
        gpu_hours=state.spent,
        images_needed=needed,
        untested=(*probing.untested, *untested),
        would_change_it=_other_end(probing.found, winner),
    )


def _guessing(state: MethodState, probing: Probing, gaps: Gaps, untested: Sequence[str]) -> Verdict:
    """With every change still no better than guessing: that is no question of the model, if it was trained enough."""
    short = _too_short(state, probing)
    guessing = (
        f"guessing is wrong in {gaps.chance:.2%}: neither this training nor any of {len(probing.found)} changes to "
        "it is better on held-out images beyond doubt"
    )
    return Verdict(
        cause="inconclusive" if short else "bug",
        change=None,
        evidence=(
            *standing(state, gaps),
            f"{guessing}: {short or 'look at labels against images, in training and held out'}",
        ),
        effects=tuple(one.effect for one in _by_worth(probing.found)),
        confidence=None,
        gpu_hours=state.spent,
        untested=(*probing.untested, *untested),
        would_change_it=(
            "more epochs, or a learning rate further away, until a training is better than guessing on held-out images"
            if short
            else "a training that is better than guessing on held-out images"
        ),
    )


def _too_short(state: MethodState, probing: Probing) -> str:
    """Why only guessing is no proof of a fault in labels or images: more steps may be all that it takes. "" if it is.

    The preflight's short training has neither the recipe's learning rate nor its regularization: where that learned,
    labels and images fit, and where it had more steps than the recipe, the recipe's own say less.
    """
    steps = max(reading.steps for reading in state.readings().values())
    for check in state.checks or ():
        if check.learned:
            return (
                f"the preflight's short training was better after {check.steps} steps, so labels and images fit; "
                f"the recipe's has {steps}"
            )
        if steps < check.steps:
            return (
                f"{steps} steps are fewer than the {check.steps} of the preflight, which tell no fault either"
            )
    if not any(one.effect.change.kind == "longer" for one in probing.found):
        return f"a longer training was not tried, and this one has {steps} steps"
    return ""


def _without(state: MethodState, probing: Probing, gaps: Gaps, untested: Sequence[str]) -> Verdict:
    """No change helps, beyond doubt (the floor, as far as these changes reach), or nobody can tell."""
    unclear = [one for one in probing.found if one.open and one.candidate.name not in state.rejected]
    floor, least = state.spec.floor, state.spec.least
    above = floor.known and gaps.minival - floor.high > max(3 * gaps.standard_error, least)
    at_floor = not unclear and not probing.unpaid and bool(probing.found) and not above
    reasons = [f"{effect_text(one)}: unclear" for one in unclear]
    if above:
        reasons.append(
            f"the floor is {_floor(floor)}, {_points(gaps.minival - floor.high)} points below: not reached"
        )
    if not reasons:
        reasons = [f"none of {len(probing.found)} changes lowers the error by {_points(least)} points"]
    pairs = max((one.effect.n for one in unclear), default=0)
    return Verdict(
        cause="floor" if at_floor else "inconclusive",
        change=None,
        evidence=(*standing(state, gaps), *reasons, *_fitted(probing)),
        effects=tuple(one.effect for one in _by_worth(probing.found)),
        confidence=None,
        gpu_hours=state.spent,
        untested=(*probing.untested, *untested),
        would_change_it=(
            "a change that was not tested, other data, or a larger least effect"
            if not unclear
            else f"more than {pairs} pairs of seeds or more held-out images (seed noise is "
            f"{_points(gaps.seed_noise)} points), or a larger least effect than {_points(least)} points"
        ),
    )


def proposal(state: MethodState, verdict: Verdict, cost: float) -> Proposal:
    """A verdict as something to answer."""
    others = tuple(effect for effect in verdict.effects if effect.change != verdict.change)
    inside = tuple(
        effect
        for effect in others
        if effect.change.kind not in OUTSIDE and effect.change.name not in state.rejected
    )
    return Proposal(round=len(state.accepted) + 1, verdict=verdict, cost=cost, alternatives=inside)


def standing(state: MethodState, gaps: Gaps) -> tuple[str, ...]:
    """Where the incumbent stands, and between what the error lies."""
    target = state.spec.target
    low, high = gaps.bias
    if not state.spec.floor.known:
        bias = f"at most {_points(high)}"
    else:
        bias = f"{_points(low)} to {_points(high)}" if high - low > 1e-9 else _points(high)
    return (
        f"held-out error {gaps.minival:.2%} (standard error {_points(gaps.standard_error)} points, {gaps.n} seeds), "
        f"target {target.error:.2%} ({target.source}): {_points(gaps.remaining)} points to go",
        f"clean training images {gaps.train:.2%}, floor {_floor(state.spec.floor)}: bias {bias}, "
        f"variance {_points(gaps.variance)} points (they order the probes, and decide nothing)",
    )


def effect_text(one: Found) -> str:
    """An effect with all that it rests on."""
    effect = one.effect
    of = f"{effect.n} pair" + ("s" if effect.n > 1 else "")
    note = f"; {effect.note}" if effect.note else ""
    return (
        f"{effect.change.name}: {_signed(effect.mean)} points (standard error {_points(effect.standard_error)}, {of}, "
        f"counts beyond {_points(effect.least)}, {effect.gpu_hours:.3g} GPU-hours{note})"
    )


def confidence(one: Found) -> float:
    """The probability that the effect has this sign."""
    effect = one.effect
    if effect.standard_error == 0:
        return 1.0
    return cdf(abs(effect.mean) / effect.standard_error, one.freedom)


def _by_worth(found: Sequence[Found]) -> list[Found]:
    return sorted(found, key=lambda one: (not one.counts, one.effect.mean / one.candidate.cost))


def _next_best(found: Sequence[Found], winner: Found) -> list[str]:
    others = [one for one in _by_worth(found) if one is not winner]
    return [f"next best: {effect_text(others[0])}"] if others else []


def _other_end(found: Sequence[Found], winner: Found) -> str:
    effect, cost = winner.effect, winner.candidate.cost
    others = [one for one in _by_worth(found) if one is not winner]
    text = f"an effect of {effect.change.name} that does not pass {_points(effect.least)} points with other seeds"
    if not others:
        return text
    other = others[0]
    wanted = -effect.mean / cost * other.candidate.cost
    return (
        f"{text}, or one of {other.effect.change.name} of {_signed(-wanted)} points (more per GPU-hour; "
        f"{_signed(other.effect.mean)} were found)"
    )


def _needed(needed: tuple[float | None, float | None, float | None]) -> str:
    low, best, high = needed
    if best is None:
        least = f" ({low:,.0f} at the least, 90 % interval)" if low is not None else ""
        return f"by the curve no number of training images reaches the target{least}"
    most = f"{high:,.0f}" if high is not None else "any number"
    return f"for the target the curve wants {best:,.0f} training images ({low:,.0f} to {most}, 90 % interval)"


def _fitted(probing: Probing) -> list[str]:
    if probing.curve is None:
        return []
    low, high = probing.curve.c_interval
    return [f"with endless images the curve ends between {low:.2%} and {high:.2%}"]


def _floor(floor: Floor) -> str:
    if not floor.known:
        return "unknown"
    if floor.low == floor.high:
        return f"{floor.high:.2%} ({floor.source})"
    return f"{floor.low:.2%} to {floor.high:.2%} ({floor.source})"


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"
