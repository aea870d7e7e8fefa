"""Whether a training was sound: finite, moving, fed. What is not comes before any question of the model."""

from collections.abc import Mapping
from statistics import median

from data_shards.shardset import Value
from tuning.method.values import Cause, Reading

# [choice] marks our own; the others have their source
WAITING = 0.10  # share of the time without images [choice]
CLIPPED = 0.50  # share of clipped steps (tuning_playbook: clip the 90th percentile of gradient norms, not half of them)
LATE, EARLY = 0.75, 0.10  # where the best evaluation is (tuning_playbook, deciding the number of steps)
SURE = 3.0  # standard errors


class Finding(Value):
    """What is not sound, in words with its numbers. One with a `cause` stops the study, others are hints."""

    cause: Cause | None = None
    hint: str = ""
    text: str


def findings(readings: Mapping[int, Reading]) -> tuple[Finding, ...]:
    """What is not sound in the incumbent's trainings, by seed."""
    found = list(readings.values())
    return (*_broken(found), *_stalled(found), *_not_learning(found), *_unsteady(found), *_length(found))


def _broken(found: list[Reading]) -> list[Finding]:
    failed = [reading.problem for reading in found if reading.state == "failed"]
    diverged = sum(reading.state == "diverged" for reading in found)
    skipped = sum(reading.non_finite for reading in found)
    texts = []
    if failed:
        texts.append(
            Finding(cause="bug", text=f"{len(failed)} of {len(found)} trainings failed: {failed[0]}")
        )
    if diverged or skipped:
        steps = sum(reading.steps for reading in found)
        text = f"{diverged} of {len(found)} trainings diverged, {skipped} of {steps} steps were not finite"
        texts.append(Finding(cause="numerics", text=text))
    return texts


def _stalled(found: list[Reading]) -> list[Finding]:
    wait = median(reading.input_wait for reading in found)  # a seed alone may have had a busy machine
    if wait <= WAITING:
        return []
    return [Finding(cause="input", text=f"{wait:.0%} of the time waits for images (limit {WAITING:.0%})")]


def _not_learning(found: list[Reading]) -> list[Finding]:
    """Worse than guessing on held-out images, or no better than it while the training images are known by heart."""
    texts = []
    for reading in found:
        if reading.train is None or reading.minival is None:
            continue
        chance = 1 - 1 / reading.classes
        minival, margin = reading.minival.share, SURE * reading.minival.standard_error
        learned = reading.train.share < chance - SURE * reading.train.standard_error
        if minival > chance + margin:
            texts.append(f"held-out error {minival:.1%} is worse than guessing ({chance:.1%})")
        elif learned and minival > chance - margin:
            texts.append(
                f"training images are wrong in {reading.train.share:.1%}, held-out ones in {minival:.1%}, which is "
                f"guessing ({chance:.1%}): their labels do not say the same"
            )
    if 2 * len(texts) <= len(found):  # a seed alone may be unlucky
        return []
    return [Finding(cause="bug", text=texts[0])]


def _unsteady(found: list[Reading]) -> list[Finding]:
    clipped = sum(reading.clipped for reading in found) / len(found)
    if clipped <= CLIPPED:
        return []
    return [Finding(hint="lr_down", text=f"{clipped:.0%} of the steps were clipped (limit {CLIPPED:.0%})")]


def _length(found: list[Reading]) -> list[Finding]:
    places = [
        min(reading.curve, key=lambda point: point.minival).samples / reading.curve[-1].samples
        for reading in found
        if len(reading.curve) > 1
    ]
    if not places:
        return []
    place = sum(places) / len(places)
    text = f"the best evaluation is at {place:.0%} of training"
    if place >= LATE:
        return [Finding(hint="longer", text=text)]
    return [Finding(hint="regularize_up", text=text)] if place <= EARLY else []
