"""View: how stored JPEGs become pixels. Pure data; `decode.py` and `augment.py` act on it."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from data_shards.shardset import Value


class View(Value):
    """Training crops and evaluation crops. Resizing is antialiased by `interpolation` in both.

    Training: RandomResizedCrop (area in [min_area, 1], aspect ratio in [3/4, 4/3]), a horizontal flip, then
    `auto_augment`: RandAugment of `magnitude` out of 10 as timm's rand-m9-mstd0.5-inc1, or TrivialAugment; or
    `color_jitter` of brightness, contrast and saturation. timm leaves jitter out where it auto-augments: asking
    for both is refused. Erasing and mixing belong to the recipe's regularization.
    Evaluation: the short edge to `image_size / eval_crop`, then the centre crop; `eval_crop=1.0` squashes the whole
    image to the square (Swin's 384 rule: TEST.CROP False in microsoft/Swin-Transformer config.py).
    """

    image_size: PositiveInt = 224
    min_area: float = Field(0.08, gt=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    eval_crop: float = Field(0.875, gt=0, le=1)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    auto_augment: Literal["none", "rand", "trivial"] = "none"
    magnitude: float = Field(9.0, ge=0, le=10)
    color_jitter: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.color_jitter and self.auto_augment != "none":
            both = f"color_jitter {self.color_jitter} and auto_augment {self.auto_augment}"
            raise ValueError(f"{both}: one of them has to be 0 or none")
        return self
