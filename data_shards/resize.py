"""Resize: how large a picture becomes when it is packed smaller than it is."""

from dataclasses import dataclass

from data_shards.shardset import Choices


@dataclass(frozen=True, kw_only=True)
class Resize:
    """`edge` pixels on the short edge, aspect kept and nothing enlarged; or, with `squash`, on both sides."""

    edge: int
    squash: bool

    @classmethod
    def asked(cls, choices: Choices) -> "Resize | None":
        """What the choices ask for, if anything."""
        if choices.resize is None:
            return None
        return cls(edge=choices.resize, squash=choices.resize_mode == "squash")

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) that a picture of `size` is to have."""
        if self.squash:
            return self.edge, self.edge
        width, height = size
        short = min(size)
        if short <= self.edge:
            return size
        # torchvision's rule: the long edge is cut to whole pixels, not rounded
        return max(self.edge, width * self.edge // short), max(self.edge, height * self.edge // short)
