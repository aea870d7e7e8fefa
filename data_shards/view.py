"""View: how stored JPEGs become pixels. Pure data; `decode.py` and `augment.py` act on it."""

from pydantic import Field, PositiveInt

from data_shards.shardset import Value


class View(Value):
    """The geometry of training crops and of evaluation.

    Training: RandomResizedCrop (area in [min_area, 1], aspect ratio in [3/4, 4/3], antialiased bicubic)
    and a horizontal flip. Evaluation: the short edge to `image_size / eval_crop`, then the centre crop;
    `eval_crop=1.0` squashes the whole image to the square (Swin's 384 rule: TEST.CROP False in
    microsoft/Swin-Transformer config.py).
    """

    image_size: PositiveInt = 224
    min_area: float = Field(0.08, gt=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    eval_crop: float = Field(0.875, gt=0, le=1)
