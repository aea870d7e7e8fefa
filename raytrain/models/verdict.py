"""Printed figures against our own counts. The counts are of the specs; tests hold those against torch's own."""

from decimal import ROUND_DOWN, Decimal

from data_shards.shardset import Value
from raytrain.models.arithmetic import forward_macs, parameters
from raytrain.models.cards import Card, cards
from raytrain.models.named import named

CLASSES = 1000
"""Every row of the tables is an ImageNet-1K network."""

EQUAL, TRUNCATED, UNPRINTED = "equal", "equal as printed (truncated)", "not printed"
MORE_DIGITS = 2


class Figure(Value):
    """A printed figure, ours with two more digits, and what they say.

    `verdict` is EQUAL (ours rounds to the printed figure), TRUNCATED (ours is cut to it), UNPRINTED or "differs: why".
    """

    printed: Decimal | None
    ours: Decimal
    verdict: str

    @property
    def differs(self) -> bool:
        """Whether they are not the same figure, however it is cut."""
        return self.verdict.startswith("differs")


class Row(Value):
    """A card with our counts: numbers learned, and multiply-adds of one image's forward pass."""

    card: Card
    parameters: int
    macs: int
    params_m: Figure
    gflops: Figure

    @property
    def figures(self) -> dict[str, Figure]:
        """Both by what they are."""
        return {"params": self.params_m, "GFLOPs": self.gflops}


def judge(card: Card) -> Row:
    """Count the card's network and compare."""
    learned, macs = counts(card.model, card.image_size)
    return Row(
        card=card,
        parameters=learned,
        macs=macs,
        params_m=figure(card.params_m, Decimal(learned) / 10**6, card.why_params),
        gflops=figure(card.gflops, Decimal(macs) / 10**9, card.why_gflops),
    )


def judged() -> list[Row]:
    """Every row of the papers' tables, in their order."""
    return [judge(card) for card in cards().values()]


def counts(name: str, image_size: int) -> tuple[int, int]:
    """A named network's (parameters, multiply-adds) at this many pixels, with 1000 classes."""
    spec = named(name)
    return parameters(spec, CLASSES, image_size), forward_macs(spec, CLASSES, image_size)


def figure(printed: Decimal | None, exact: Decimal, why: str) -> Figure:
    """Equal when rounded to the printed digits, or when cut to them; else different, and `why`."""
    if printed is None:
        return Figure(printed=None, ours=exact.quantize(Decimal("0.0001")), verdict=UNPRINTED)
    if exact.quantize(printed) == printed:
        verdict = EQUAL
    elif exact.quantize(printed, ROUND_DOWN) == printed:
        verdict = TRUNCATED
    else:
        verdict = f"differs: {why}"
    return Figure(printed=printed, ours=exact.quantize(printed.scaleb(-MORE_DIGITS)), verdict=verdict)
