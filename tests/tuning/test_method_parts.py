"""The methodology's arithmetic: what is known of Student's t, of curves, of health, of gaps, and of words."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_world import OF, ToyWorld, spec

from raytrain.errors import UsageError
from tuning.method.curve import Curve, fit_curve
from tuning.method.decide import Propose, RunChecks, Train, decide
from tuning.method.effects import Noise
from tuning.method.floor import Floor, parse_floor
from tuning.method.forecast import forecast, forecast_text
from tuning.method.gaps import gaps, ranked
from tuning.method.health import Finding, findings
from tuning.method.rows import Answered, Checked, Proposal, Reject, Started, Trained
from tuning.method.state import MethodState, after, replay
from tuning.method.student import cdf, quantile
from tuning.method.target import parse_target
from tuning.method.tell import proposal_text
from tuning.method.values import Check, Point, Rate, Reading, Trial


@pytest.mark.parametrize(
    ("probability", "freedom", "t"),  # of the printed tables
    [
        (0.95, 1, 6.314),
        (0.95, 2, 2.920),
        (0.975, 3, 3.182),
        (0.99, 7, 2.998),
        (0.995, 30, 2.750),
        (0.9, 4, 1.533),
    ],
)
def test_students_t_is_that_of_the_tables(probability: float, freedom: int, t: float) -> None:
    assert quantile(probability, freedom) == pytest.approx(t, abs=5e-4)


@given(st.floats(-50, 50), st.integers(1, 60))
def test_students_t_is_symmetrical_and_has_heavier_tails_than_with_more_freedom(
    t: float, freedom: int
) -> None:
    assert cdf(t, freedom) + cdf(-t, freedom) == pytest.approx(1)
    assert cdf(-abs(t), freedom) >= cdf(-abs(t), freedom + 1) - 1e-12


def curve(a: float, b: float, c: float, **fields: float) -> Curve:
    points = {x: [a * x**-b + c] * 3 for x in (0.25, 0.5, 1.0)}
    wanted = {"target": 0.1, "lowest": 0.0, "deviation": 1e-5} | fields
    return fit_curve(points, images=1000, rng=np.random.default_rng(0), **wanted)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1.0), st.floats(0.1, 1.8), st.floats(0.01, 0.4))
def test_an_exact_curve_is_found(share: float, b: float, c: float) -> None:
    a = share * (1 - c) / 4**b  # no error is above 1
    found = curve(a, b, c)
    for x in (0.25, 0.5, 1.0):
        assert found.error(x) == pytest.approx(a * x**-b + c, abs=5e-3)
    assert found.gain == pytest.approx(a - a * 2**-b, abs=5e-3)


def test_the_images_that_a_target_needs_are_those_of_the_formula() -> None:
    low, best, high = curve(0.1, 1.0, 0.05, target=0.075).needed  # 0.025 = 0.1 / 4
    assert low is not None
    assert best is not None
    assert high is not None
    assert low <= best <= high
    assert best == pytest.approx(4000, rel=0.03)


def test_below_the_end_of_the_curve_no_number_of_images_helps() -> None:
    assert curve(0.1, 1.0, 0.05, target=0.04).needed == (None, None, None)
    low, _, high = curve(0.1, 1.0, 0.05, target=0.052, deviation=0.01).needed
    assert low is not None
    assert high is None


@settings(max_examples=10, deadline=None)
@given(st.floats(0.0, 0.2))
def test_a_curve_does_not_end_below_the_floor(lowest: float) -> None:
    found = curve(0.3, 0.1, 0.0, lowest=lowest)
    assert found.c >= lowest


def test_a_probes_own_noise_is_drawn_towards_that_of_all() -> None:
    noise = Noise(variance=1.0, freedom=20)
    assert noise.with_own([5.0]).variance == 1.0
    quiet, loud = noise.with_own([1.0, 1.0]), noise.with_own([0.0, 6.0])
    assert (quiet.variance, quiet.freedom) == (pytest.approx(6 / 7), 7)
    assert loud.variance == pytest.approx((6 + 18) / 7)


def reading(train: float = 0.1, minival: float = 0.2, **fields: object) -> Reading:
    known: dict[str, object] = {
        "state": "done",
        "classes": 10,
        "train_samples": 1000,
        "train": Rate(wrong=round(train * OF), of=OF),
        "minival": Rate(wrong=round(minival * OF), of=OF),
        "initial_loss": 2.3,
        "steps": 100,
        "gpu_hours": 1.0,
    }
    return Reading.model_validate(known | fields)


def rates(train: int, minival: int, of: int = 500) -> Reading:
    return reading().model_copy(
        update={"train": Rate(wrong=train, of=of), "minival": Rate(wrong=minival, of=of)}
    )


@pytest.mark.parametrize(
    ("one", "cause", "words"),
    [
        (reading(state="diverged"), "numerics", "1 of 1 trainings diverged"),
        (reading(non_finite=3), "numerics", "3 of 100 steps"),
        (reading(input_wait=0.11), "input", "11% of the time"),
        (reading(state="failed", problem="no room"), "bug", "no room"),
        (rates(0, 449), "bug", "do not say the same"),
        (rates(0, 499), "bug", "worse than guessing"),
    ],
)
def test_what_is_not_sound_stops(one: Reading, cause: str, words: str) -> None:
    found = findings({0: one})
    assert [finding.cause for finding in found] == [cause]
    assert words in found[0].text


@pytest.mark.parametrize(
    "sound",
    [
        reading(),
        reading(input_wait=0.1),
        rates(440, 450),  # learns nothing yet: probes will tell
        rates(0, 400),  # few images are learned by heart
    ],
)
def test_what_is_sound_does_not(sound: Reading) -> None:
    assert findings({0: sound}) == ()


@pytest.mark.parametrize(
    ("minivals", "hint"),
    [((0.5, 0.4, 0.3, 0.2), "longer"), ((0.2, 0.3, 0.4, 0.5), "regularize_up"), ((0.5, 0.2, 0.3), "")],
)
def test_where_the_best_evaluation_is_hints_at_the_length(minivals: tuple[float, ...], hint: str) -> None:
    scale = 20 if hint == "regularize_up" else 1  # the first of the points in the first tenth
    points = tuple(
        Point(samples=n if n == 1 else n * scale, train=None, minival=error)
        for n, error in enumerate(minivals, 1)
    )
    hints = [finding.hint for finding in findings({0: reading(curve=points)})]
    assert hints == ([hint] if hint else [])


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 0.5))
def test_gaps_add_up(train: float, minival: float, floor: float) -> None:
    found = gaps({0: reading(train=train, minival=minival)}, Floor(low=floor, high=floor), 0.1)
    assert found.bias[0] + found.variance + floor == pytest.approx(minival, abs=1e-6)
    assert found.remaining == pytest.approx(minival - 0.1, abs=1e-6)


def test_gaps_order_probes_and_hints_go_first() -> None:
    world = ToyWorld()
    found = gaps({0: reading(train=0.01, minival=0.4)}, Floor(), 0.1)
    order = [one.kind for one in ranked(world.changes({}), found, [Finding(hint="lr_down", text="")])]
    assert order[0] == "lr_down"
    assert set(order[1:4]) == {"regularize_up", "half_data", "quarter_data"}
    assert len(order) == len(world.changes({}))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("top1>=0.8", 0.2),
        ("error<=0.25", 0.25),
        ("paper:swin_b_384_22k", 0.136),
        ("paper:resnet50_v1_cbam", 0.2266),
    ],
)
def test_targets_are_errors(text: str, error: float) -> None:
    assert parse_target(text).error == pytest.approx(error)


@pytest.mark.parametrize("text", ["0.8", "top1<=0.8", "top1>=x", "error<=1", "paper:nobody", "top1>="])
def test_other_targets_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--target "):
        parse_target(text)


def test_floors_are_intervals() -> None:
    assert parse_floor("label-noise:0.02") == Floor(low=0.02, high=0.02, source="label noise")
    assert parse_floor("human:0.05") == Floor(low=0.0, high=0.05, source="human")
    for text in ("0.05", "human:2", "human:", "sky:0.1"):
        with pytest.raises(UsageError, match=r"--floor "):
            parse_floor(text)


def proposed(world: ToyWorld, wanted: Started) -> tuple[MethodState, Proposal]:
    state = replay([wanted])
    while True:
        match decide(state, world):
            case RunChecks():
                state = after(state, Checked(checks=world.checks()))
            case Train(trials=trials):
                for trial in trials:
                    state = after(state, Trained(trial=trial, reading=world.reading(trial)))
            case Propose(proposal=proposal):
                return state, proposal
            case other:
                raise AssertionError(other)


def test_a_proposal_and_a_forecast_in_words(golden: Callable[[str, str], None]) -> None:
    world = ToyWorld(capacity=0.1, lr=0.02)
    state, proposal = proposed(world, spec(budget=200, target=parse_target("paper:swin_b_384_22k")))
    golden("method/proposal.txt", proposal_text(proposal, state) + "\n")
    golden("method/forecast.txt", forecast_text(forecast(replay([spec(budget=200)]), world), 2.5) + "\n")
    short = forecast_text(forecast(replay([spec(budget=20)]), world), None)
    assert "the budget ends within this round, which would take about 26.5 GPU-hours" in short


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_the_order_in_which_trainings_end_decides_nothing(rng: object, seed: int) -> None:
    class Shuffled(ToyWorld):
        def error(self, trial: Trial) -> float:
            return super().error(trial.model_copy(update={"seed": trial.seed + 1000 * seed}))

    world = Shuffled(capacity=0.03, noise=0.01)
    straight, proposal = proposed(world, spec())
    trained = list(straight.trained.values())
    rng.shuffle(trained)  # type: ignore[attr-defined]
    state = after(replay([spec()]), Checked(checks=()))
    for row in trained:
        state = after(state, row)
    again = decide(state, world)
    assert isinstance(again, Propose)
    assert again.proposal == proposal


def test_few_held_out_images_prove_no_small_effect() -> None:
    class Few(ToyWorld):
        def reading(self, trial: Trial) -> Reading:
            found = super().reading(trial)
            assert found.minival is not None
            return found.model_copy(update={"minival": Rate(wrong=round(found.minival.share * 400), of=400)})

    planted = {"capacity": 0.02, "data": 0.001, "noise": 0.0}
    assert (
        proposed(ToyWorld(**planted), spec())[1].verdict.cause == "capacity"
    )  # 1.8 points, without any noise
    assert proposed(Few(**planted), spec())[1].verdict.cause == "inconclusive"  # seven pictures


def test_what_one_pair_excluded_is_asked_again_once_noise_is_seen() -> None:
    noisy = (-0.006, 0.030, -0.040, 0.025, -0.035, 0.02)  # of one probe's pairs

    class Scripted(ToyWorld):
        def error(self, trial: Trial) -> float:
            kind = trial.change.kind if trial.change else ""
            change = {"capacity_up": -0.002, "lr_up": noisy[trial.seed], "": 0.0}.get(kind, 0.05)
            return 0.2 + 0.0001 * (trial.seed % 2) + change

    effects = proposed(Scripted(), spec())[1].verdict.effects
    pairs = {effect.change.kind: effect.n for effect in effects}
    assert pairs["lr_up"] >= 3
    assert pairs["capacity_up"] >= 3


class Guesses(ToyWorld):
    """Its labels say nothing: whatever is changed, nine of ten classes are wrong."""

    def error(self, trial: Trial) -> float:
        return 0.9 + super().error(trial) - 0.14


def test_who_only_guesses_however_changed_has_a_bug_and_no_weak_model() -> None:
    state, proposal = proposed(Guesses(noise=0.02, data=0.0, floor=0.14), spec())
    assert proposal.verdict.cause == "bug"
    assert proposal.verdict.change is None
    assert "guessing is wrong in 90.00%" in proposal.verdict.evidence[-1]
    answered = Answered(answer=Reject(reason="it is hard"), by="person")
    waived = after(after(state, proposal), answered)
    again = decide(waived, Guesses(noise=0.02, data=0.0, floor=0.14))
    assert isinstance(again, Propose)
    assert again.proposal.verdict.cause in ("floor", "inconclusive"), "a person said that it is none"


SHORT = Check(name="held-out labels", green=True, found="")


@pytest.mark.parametrize(
    ("check", "longer", "cause", "words"),
    [
        (SHORT.model_copy(update={"steps": 150}), True, "bug", "look at labels against images"),
        (
            SHORT.model_copy(update={"steps": 1500}),
            True,
            "inconclusive",
            "1000 steps are fewer than the 1500",
        ),
        (
            SHORT.model_copy(update={"steps": 150, "learned": True}),
            True,
            "inconclusive",
            "labels and images fit",
        ),
        (SHORT.model_copy(update={"steps": 150}), False, "inconclusive", "a longer training was not tried"),
    ],
)
def test_a_training_that_may_be_too_short_is_no_bug(
    check: Check, longer: bool, cause: str, words: str
) -> None:
    world = Guesses(noise=0.02, data=0.0, floor=0.14, checks=[check])
    world.offered = tuple(one for one in world.offered if longer or one.kind != "longer")
    found = proposed(world, spec())[1].verdict
    assert found.cause == cause
    assert words in found.evidence[-1]
    assert ("more epochs" in found.would_change_it) == (cause == "inconclusive")


def test_what_fewer_images_do_not_show_beyond_doubt_is_no_lack_of_data() -> None:
    """The curve promises a gain; one of three pairs alone made half the images worse."""

    class Scripted(ToyWorld):
        def error(self, trial: Trial) -> float:
            kind = trial.change.kind if trial.change else ""
            lost = {"half_data": 0.0 if trial.seed % 3 else 0.032, "quarter_data": 0.03}.get(kind, 0.0)
            return 0.3 + lost + 0.0001 * (trial.seed % 3)

    found = proposed(Scripted(), spec(least=0.001))[1].verdict
    assert found.cause in ("floor", "inconclusive")
    assert next(one for one in found.effects if one.change.kind == "more_data").counts
