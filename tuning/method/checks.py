"""What the preflight's numbers mean. Each takes what was measured and returns the check; nothing is run here.

Five standard errors separate chance from a fault: a check that is right is red about once in 3.5 million.
"""

import math
from collections.abc import Sequence

from tuning.method.values import Check, Rate

SURE = 5.0
LEFT_OVER = 0.05  # of one batch [choice]
LEARNED, SHOWN = 3.0, 2.0  # standard errors [choice]
LOSS_TOLERANCE = 0.05  # of ln(classes); AlgoPerf's ImageNet ViT starts at 6.9078 = ln(1000)
LOSS_LEAST = (
    0.4  # nats: half the variance of the first logits, which few classes do not lessen (ResNet-50: to 0.37)
)
INPUT_MARGIN = (
    1.1  # reading faster than the network by a tenth: else more than a tenth of the time may be waiting
)


def initial_loss(loss: float, classes: int) -> Check:
    """The loss of a network that was not trained: ln(classes), since it knows nothing and claims nothing."""
    expected = math.log(classes)
    return Check(
        name="initial loss",
        green=abs(loss - expected) <= max(LOSS_TOLERANCE * expected, LOSS_LEAST),
        found=f"{loss:.3f}; ln({classes}) is {expected:.3f}",
        fix="the head's initialisation, or the loss: a fresh network should find all classes equally likely",
    )


def one_batch(error: Rate) -> Check:
    """The error on one batch that was trained on again and again: near 0, or the network cannot learn at all.

    One of 32 may stay wrong: a narrow network with a few dead units is too small, which is no fault of its training.
    """
    return Check(
        name="one batch",
        green=error.wrong <= LEFT_OVER * error.of,
        found=f"{error.wrong} of {error.of} images of one batch are still wrong after training on nothing else",
        fix="labels that belong to other images, images that are all alike, frozen weights, a learning rate near 0",
    )


def blanked_images(real: Rate, blanked: Rate) -> Check:
    """Errors on the same images after the same short training, and the least that blanks allow, which is exact: pixels
    must help.
    """
    return Check(
        name="blanked images",
        green=real.share + SURE * real.standard_error < blanked.share,
        found=f"error {real.share:.3f} with the images, {blanked.share:.3f} with blanks in their place",
        fix="what reaches the network: decoding, normalization, the order of labels against images",
    )


def held_out_labels(train: Rate, held_out: Rate, chance: float, steps: int) -> Check:
    """After a training of so many steps: what was learned must show on held-out images, or their labels do not fit.

    `chance` is the error of whoever always says the commonest class. It is asked only of who has learned so much that
    half of it would show on so few images: no proof is no fault. What it misses, the baseline's health finds.
    """
    learned = chance - train.share > 2 * LEARNED * _apart(train, held_out)
    shows = held_out.share + SHOWN * held_out.standard_error < chance
    return Check(
        name="held-out labels",
        green=shows or not learned,
        found=f"error {train.share:.3f} on trained images, {held_out.share:.3f} on held-out ones; chance {chance:.3f}",
        fix="the class order of the held-out set against the training set's, or labels shuffled against their images",
        steps=steps,
        learned=held_out.share + LEARNED * held_out.standard_error < chance,
    )


def leak(shared: int, of: int) -> Check:
    """How many held-out images are training images too."""
    return Check(
        name="leak",
        green=shared == 0,
        found=f"{shared} of {of} held-out images are in the training set",
        fix="split again, by the images' digests: every error measured on these is too low",
    )


def class_mix(shards: Sequence[Sequence[int]]) -> Check:
    """Images per class [shards][classes]: each shard must be like a random sample of all, which one alone is.

    Pearson's chi-square per shard, with its mean and variance for a sample of that size (Haldane 1937), which hold for
    expected counts far below 1: shards have fewer images than ImageNet-22K has classes. Of few classes it is skewed, so
    deviations are those of its cube root (Wilson and Hilferty 1931).
    """
    fix = "pack again with shuffling: batches of few classes train the network on the last ones it saw"
    if len(shards) == 1:
        found = "one shard holds every image, so none has a mix of its own"
        return Check(name="class mix", green=True, found=found, fix=fix)
    every = [sum(counts) for counts in zip(*shards, strict=True)]
    shares = [count / sum(every) for count in every if count]
    if len(shares) == 1:
        return Check(name="class mix", green=True, found="every image is of one class", fix=fix)
    classes, inverse = len(shares), sum(1 / share for share in shares)
    worst, where = -math.inf, 0
    for index, counts in enumerate(shards):
        size = sum(counts)
        kept = [count for count, all_of in zip(counts, every, strict=True) if all_of]
        square = sum((n - size * p) ** 2 / (size * p) for n, p in zip(kept, shares, strict=True))
        mean, variance = classes - 1, 2 * (classes - 1) + (inverse - classes**2 - 2 * classes + 2) / size
        root = variance / (
            9 * mean**2
        )  # the variance of the cube root of square / mean, and how far its mean is from 1
        apart = ((square / mean) ** (1 / 3) - (1 - root)) / math.sqrt(root)
        if apart > worst:
            worst, where = apart, index
    return Check(
        name="class mix",
        green=worst <= SURE,
        # below 0 all are more alike than chance makes them
        found=f"the worst of {len(shards)} shards, number {where + 1}, is {max(worst, 0):.1f} deviations from a random "
        "sample of the classes",
        fix=fix,
    )


def input_speed(read: float, trained: float) -> Check:
    """Images per second that are read, and that the network could train on."""
    return Check(
        name="input speed",
        green=read >= INPUT_MARGIN * trained,
        found=f"{read:,.0f} images/s are read, the network takes {trained:,.0f}",
        fix="more loader processes, restart markers, a cache on the node: the GPUs wait, and no recipe changes that",
    )


def _apart(first: Rate, second: Rate) -> float:
    return math.hypot(first.standard_error, second.standard_error)
