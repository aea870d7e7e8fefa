"""The floor: the error that nobody can go below on these images and labels, as an interval with its source."""

from pydantic import Field

from data_shards.shardset import Value
from raytrain.errors import UsageError

HOW = "write label-noise:0.02, human:0.05 or published:0.1"


class Floor(Value):
    """The floor lies between `low` and `high`. 0 to 1 where nothing is known."""

    low: float = Field(0.0, ge=0, le=1)
    high: float = Field(1.0, ge=0, le=1)
    source: str = "unknown"

    @property
    def known(self) -> bool:
        """Whether anybody has been that low."""
        return self.high < 1


UNKNOWN = Floor()


def parse_floor(text: str) -> Floor:
    """The floor that `--floor` names. Raises UsageError for another kind or no share.

    Who gives the right answer to every image is wrong as often as the labels are: label noise is the floor itself.
    What people or published models reach was possible, so the floor is there or below.
    """
    kind, colon, number = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not colon or kind not in ("label-noise", "human", "published") or not 0 <= share <= 1:
        raise UsageError(f"--floor {text}: it is no kind with a share between 0 and 1; {HOW}")
    low = share if kind == "label-noise" else 0.0
    return Floor(low=low, high=share, source=kind.replace("-", " "))
