"""How far a path's pixels are from Pillow's, box by box."""

import json
from pathlib import Path
from typing import Any

from paths.path import SIDE, Data, Pick
from rows import Row
from turns import Runner

EVERY = 8
"""Every eighth photograph is compared."""


def picks(data: Data, *, centred: bool) -> list[Pick]:
    """One box each of some photographs: as training draws them, or the largest centred square."""
    from PIL import Image

    chosen = []
    for number, file in enumerate(data.files()):
        if number % EVERY == 0:
            with Image.open(file) as picture:
                box = centred_square(*picture.size) if centred else training_box(picture, number)
            chosen.append(Pick(number, *box))
    return chosen


def centred_square(width: int, height: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest one."""
    short = min(width, height)
    return (height - short) // 2, (width - short) // 2, short, short


def training_box(picture: Any, seed: int) -> tuple[int, int, int, int]:
    """(top, left, height, width), drawn as torchvision's RandomResizedCrop draws it for a PIL picture or a tensor."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(seed)
    return RandomResizedCrop.get_params(picture, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])


def reference(data: Data, boxes: list[Pick], filter_name: str) -> Any:
    """[n, 3, SIDE, SIDE] in 0..255: Pillow decodes, crops, and resizes; `area` is not among its filters."""
    import numpy as np
    from PIL import Image

    files, crops = data.files(), []
    for pick in boxes:
        box = (pick.left, pick.top, pick.left + pick.width, pick.top + pick.height)
        with Image.open(files[pick.number]) as picture:
            crop = picture.convert("RGB").crop(box)
        if filter_name == "area":
            resized = area_average(np.asarray(crop))
        else:
            resized = np.asarray(crop.resize((SIDE, SIDE), Image.Resampling[filter_name.upper()]))
        crops.append(resized.transpose(2, 0, 1))
    return np.stack(crops)


def area_average(pixels: Any) -> Any:
    """[SIDE, SIDE, 3] of [H, W, 3], whole numbers: the mean colour under each target pixel, by exact areas."""
    import numpy as np

    def shares(length: int) -> Any:
        edges = np.arange(SIDE + 1) * (length / SIDE)
        covered = np.clip(edges[:, None] - np.arange(length)[None], 0, 1)  # of each pixel, left of each edge
        return np.diff(covered, axis=0) * (SIDE / length)

    height, width, _ = pixels.shape
    return np.rint(np.einsum("yh,hwc,xw->yxc", shares(height), pixels, shares(width), optimize=True))


def error(runner: Runner, row: Row, data: Data, scratch: Path) -> float:
    """Mean absolute difference, in levels of 255, over all pixels of all boxes."""
    import numpy as np

    boxes = picks(data, centred=not row.takes_boxes)
    asked = scratch / "picks.json"
    asked.write_text(json.dumps(boxes))
    theirs = np.load(runner.crops(asked)).astype(np.int16)
    return float(np.abs(theirs - reference(data, boxes, row.filter_name)).mean())
