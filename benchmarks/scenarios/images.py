"""Made-up images whose label can be known exactly, and by how much it cannot: the Bayes error.

An image of 8 x 8 pixels is noise of deviation `sigma` around two patches of 4 x 4, one in each of two corners. Each
patch is one of `classes` random codes of +-1, and the label is the sum of the two codes' numbers modulo `classes`. No
pixel alone says anything of the label, nor does either patch: a network must learn both codes and their sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE, PATCH = 8, 4
PIXELS = SIDE * SIDE


@dataclass(frozen=True)
class Images:
    """`pixels` [n, 64], and `labels` [n]: what each really is."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Images":
        """Images from `start` to before `stop`."""
        return Images(self.pixels[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class Codes:
    """A task: the codes of the two patches [2, classes, 16], and the noise."""

    codes: Tensor
    sigma: float

    @classmethod
    def draw(cls, classes: int, sigma: float, rng: torch.Generator) -> "Codes":
        """Random codes."""
        return cls(torch.randint(0, 2, (2, classes, PATCH * PATCH), generator=rng) * 2.0 - 1.0, sigma)

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return self.codes.shape[1]

    def images(self, count: int, rng: torch.Generator) -> Images:
        """New images, all labels as likely."""
        first, second = torch.randint(0, self.classes, (2, count), generator=rng)
        pixels = torch.zeros(count, SIDE, SIDE)
        pixels[:, :PATCH, :PATCH] = self.codes[0, first].view(count, PATCH, PATCH)
        pixels[:, PATCH:, PATCH:] = self.codes[1, second].view(count, PATCH, PATCH)
        pixels += self.sigma * torch.randn(count, SIDE, SIDE, generator=rng)
        return Images(pixels.view(count, PIXELS), (first + second) % self.classes)

    def posterior(self, pixels: Tensor) -> Tensor:
        """The probability of each label, given the pixels [n, 64]: [n, classes]. Nothing can know more."""
        square = pixels.view(-1, SIDE, SIDE)
        corners = square[:, :PATCH, :PATCH].flatten(1), square[:, PATCH:, PATCH:].flatten(1)
        first, second = (
            torch.softmax(-(torch.cdist(corner, codes) ** 2) / (2 * self.sigma**2), dim=1)
            for corner, codes in zip(corners, self.codes, strict=True)
        )
        sums = [
            sum(first[:, a] * second[:, (label - a) % self.classes] for a in range(self.classes))
            for label in range(self.classes)
        ]
        return torch.stack([torch.as_tensor(each) for each in sums], dim=1)
