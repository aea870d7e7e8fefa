"""The preflight's judgements: red where the fault is, green where it only looks like one."""

import math

import numpy as np

from tuning.method import checks
from tuning.method.values import Check, Rate


def rate(share: float, of: int = 2000) -> Rate:
    return Rate(wrong=round(share * of), of=of)


def test_a_network_that_knows_nothing_starts_at_ln_k() -> None:
    assert checks.initial_loss(6.9078, 1000).green
    assert not checks.initial_loss(math.log(1000) * 1.06, 1000).green
    assert "ln(1000) is 6.908" in checks.initial_loss(9.1, 1000).found


def test_one_image_of_a_batch_may_be_wrong_and_not_two() -> None:
    assert checks.one_batch(Rate(wrong=1, of=32)).green
    assert not checks.one_batch(Rate(wrong=2, of=32)).green


def test_pixels_must_help() -> None:
    assert checks.blanked_images(rate(0.6), rate(0.75)).green
    assert not checks.blanked_images(rate(0.75), rate(0.75)).green
    assert not checks.blanked_images(rate(0.74), rate(0.75)).green  # within chance
    assert checks.blanked_images(rate(0.0, 32), rate(0.4, 32)).green  # two classes, one batch


def held_out(train: Rate, held_out: Rate, chance: float) -> Check:
    return checks.held_out_labels(train, held_out, chance, 150)


def test_held_out_labels_are_judged_only_by_who_has_learned() -> None:
    assert held_out(rate(0.2), rate(0.3), 0.75).green
    assert not held_out(rate(0.2), rate(0.76), 0.75).green
    assert held_out(rate(0.74), rate(0.75), 0.75).green  # nothing learned yet: no proof
    assert held_out(rate(0.635, 512), rate(0.664, 512), 0.75).green  # a little learned, of both alike
    few = Rate(wrong=140, of=160)
    assert held_out(rate(0.85), few, 15 / 16).green  # too little learned for so few images


def test_what_a_short_training_shows_on_held_out_images_is_kept_with_its_steps() -> None:
    assert held_out(rate(0.2), rate(0.3), 0.75).learned
    assert held_out(rate(0.2), rate(0.3), 0.75).steps == 150
    assert not held_out(rate(0.70), rate(0.73), 0.75).learned  # 2 standard errors


def test_one_shared_image_is_a_leak() -> None:
    assert checks.leak(0, 500).green
    assert not checks.leak(1, 500).green


def test_class_mix_takes_small_random_shards_and_refuses_sorted_ones() -> None:
    rng = np.random.default_rng(0)
    classes, size = 5000, 1000  # fewer images than classes, as in a shard of ImageNet-22K
    shuffled = [np.bincount(rng.integers(0, classes, size), minlength=classes).tolist() for _ in range(50)]
    assert checks.class_mix(shuffled).green
    half = [np.bincount(rng.integers(0, classes // 2, size), minlength=classes).tolist() for _ in range(25)]
    other = [
        np.bincount(rng.integers(classes // 2, classes, size), minlength=classes).tolist() for _ in range(25)
    ]
    assert not checks.class_mix(half + other).green


def test_class_mix_takes_random_shards_of_few_classes_again_and_again() -> None:
    rng = np.random.default_rng(0)
    packed = (rng.multinomial(500, [0.25] * 4, size=16).tolist() for _ in range(1000))
    assert all(checks.class_mix(shards).green for shards in packed)
    lopsided = [[200, 100, 100, 100], *rng.multinomial(500, [0.25] * 4, size=15).tolist()]
    assert not checks.class_mix(lopsided).green


def test_class_mix_says_which_shard_is_the_worst_and_nothing_of_one_alone() -> None:
    told = checks.class_mix([[100, 100], [190, 10], [100, 100]]).found
    assert told == "the worst of 3 shards, number 2, is 7.5 deviations from a random sample of the classes"
    alike = checks.class_mix([[100, 100], [100, 100]])
    assert (alike.green, "is 0.0 deviations" in alike.found) == (True, True)
    alone = checks.class_mix([[400, 1]])
    assert (alone.green, alone.found) == (True, "one shard holds every image, so none has a mix of its own")
    one = checks.class_mix([[40, 0], [30, 0]])
    assert (one.green, one.found) == (True, "every image is of one class")


def test_input_must_be_faster_than_the_network() -> None:
    assert checks.input_speed(1200, 1000).green
    assert not checks.input_speed(1050, 1000).green
