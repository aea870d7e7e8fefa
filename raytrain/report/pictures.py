"""The worst mistakes as pictures: thumbnails from the shards, inside the page."""

import base64
import io

from PIL import Image, ImageOps

from data_shards.decode import UNREADABLE, UndecodableError, image_size
from data_shards.errors import DataError
from data_shards.mix import held_out, load_data
from data_shards.reader import read_jpeg
from data_shards.shardset import ShardSet, Value
from raytrain.evaluation import Mistake
from raytrain.report.build import Report

SIDE = 168  # pixels: shown at half of it, sharp on dense screens
MOST_PICTURES = 16


class Picture(Value):
    """A mistake with its picture as a data URL, or why there is none."""

    mistake: Mistake
    source: str
    problem: str


def pictures(report: Report) -> list[Picture]:
    """The most confident mistakes. Empty where there are none, or where the data could not be asked."""
    if report.evaluation is None or report.data_problem is not None:
        return []
    url, shardset = held_out(report.data_url, load_data(report.data_url))
    worst = report.evaluation.mistakes[:MOST_PICTURES]
    return [_picture(url, shardset, report.evaluation.split, mistake) for mistake in worst]


def _picture(url: str, shardset: ShardSet, split: str, mistake: Mistake) -> Picture:
    try:
        small = thumbnail(read_jpeg(url, shardset, split, mistake.index))
    except UndecodableError:
        return Picture(mistake=mistake, source="", problem="cannot be decoded; the model saw black")
    except DataError as error:
        return Picture(mistake=mistake, source="", problem=str(error))
    return Picture(
        mistake=mistake, source="data:image/jpeg;base64," + base64.b64encode(small).decode(), problem=""
    )


def thumbnail(raw: bytes) -> bytes:
    """The middle square of a JPEG or PNG, as a JPEG of SIDE x SIDE. Raises UndecodableError."""
    image_size(raw)
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            small = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
    except UNREADABLE:
        raise UndecodableError("a picture whose header is right and whose body is not") from None
    written = io.BytesIO()
    small.save(written, "JPEG", quality=82)
    return written.getvalue()
