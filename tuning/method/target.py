"""The target: what error on held-out images is wanted, and who says so.

`top1>=0.8` and `error<=0.2` are the same; `paper:swin_b_384_22k` is what a row of the papers' tables reached
(raytrain/models/cards.py).
"""

import difflib
import re

from data_shards.shardset import Value
from raytrain.errors import UsageError
from raytrain.models.cards import Card, cards

FORM = re.compile(r"(top1>=|error<=)(.+)")
HOW = "write top1>=0.8, error<=0.2, or paper:NAME for a row of `raytrain models`"


class Target(Value):
    """The error to reach, as a share. `text` is how it was asked for, `source` who holds it for possible."""

    text: str
    error: float
    source: str


def parse_target(text: str) -> Target:
    """The target that `--target` names. Raises UsageError for no metric, no share, or a row that is in no table."""
    if text.startswith("paper:"):
        return _published(text)
    matched = FORM.fullmatch(text.replace(" ", ""))
    if matched is None:
        raise UsageError(f"--target {text}: it has no metric and bound; {HOW}")
    metric, number = matched.groups()
    try:
        share = float(number)
    except ValueError:
        raise UsageError(f"--target {text}: '{number}' is no number; {HOW}") from None
    if not 0 < share < 1:
        raise UsageError(f"--target {text}: {number} is no share between 0 and 1; {HOW}")
    return Target(text=text, error=share if metric == "error<=" else 1 - share, source="asked for")


def _published(text: str) -> Target:
    name = text.removeprefix("paper:")
    known = cards()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
        raise UsageError(
            f"--target {text}: no row of the papers' tables has that name; the nearest: {', '.join(near)}"
        )
    card = known[name]
    if card.top1 is None:
        raise UsageError(f"--target {text}: {card.table} of {card.paper} prints no accuracy for {card.row}")
    return Target(text=text, error=_error(card), source=f"{card.paper}, {card.table}, {card.row}")


def _error(card: Card) -> float:
    assert card.top1 is not None
    return float(card.top1 if card.error else 100 - card.top1) / 100
