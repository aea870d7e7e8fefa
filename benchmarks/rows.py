"""The rows of the loader's table: every path, how it is opened, and what was tried to make it fast."""

from typing import Any, NamedTuple


class Row(NamedTuple):
    """A path: its module in `paths`, the arguments of its `open_path`, the peer's environment if it needs one."""

    title: str
    module: str
    options: dict[str, Any]
    filter_name: str
    environment: str | None = None
    libraries: tuple[str, ...] = ()
    takes_boxes: bool = True


BASE = "WebDataset + PIL + v1"
OURS = "this loader"
MARKED = "this loader, restart markers"


def _row(title: str, module: str, filter_name: str, **options: Any) -> Row:
    return Row(title, module, {"filter_name": filter_name, **options}, filter_name)


def _peer(title: str, module: str, environment: str, library: str, filter_name: str, **options: Any) -> Row:
    options = {"filter_name": filter_name, **options}
    return Row(title, module, options, filter_name, environment, (library,))


ROWS = (
    _row(BASE, "wds", "bicubic", decoder="pil"),
    _row("WebDataset + PIL + v1, bilinear", "wds", "bilinear", decoder="pil"),
    _row("WebDataset + decode_jpeg + v2", "wds", "bicubic", decoder="tv"),
    _row("WebDataset + decode_jpeg + v2, bilinear", "wds", "bilinear", decoder="tv"),
    _row(OURS, "ours", "bicubic", marked=False),
    _row(MARKED, "ours", "bicubic", marked=True),
    _row(f"{MARKED}, bilinear", "ours", "bilinear", marked=True),
    _peer("litdata + PIL + v1", "lit", "litdata", "litdata", "bicubic", kind="bytes"),
    _peer("litdata + decode_jpeg + v2", "lit", "litdata", "litdata", "bicubic", kind="jpeg"),
    _peer(
        "MosaicML Streaming + PIL + v1", "mosaic", "streaming", "mosaicml-streaming", "bicubic", decoder="pil"
    ),
    _peer(
        "MosaicML Streaming + decode_jpeg + v2",
        "mosaic",
        "streaming",
        "mosaicml-streaming",
        "bicubic",
        decoder="tv",
    ),
    _peer("DALI, CPU", "dali", "dali", "nvidia-dali-cuda130", "bicubic"),
    _peer("DALI, CPU, bilinear", "dali", "dali", "nvidia-dali-cuda130", "bilinear"),
    Row("FFCV, all JPEG", "beton", {"writing": "jpg"}, "area", "ffcv", ("ffcv",), takes_boxes=False),
    Row("FFCV, half raw", "beton", {"writing": "mix"}, "area", "ffcv", ("ffcv",), takes_boxes=False),
)

TRIED = """\
- **WebDataset**: shards in shuffled order and a buffer of 100 samples still encoded; the decoder and transforms of most
  recipes, and the faster ones of torchvision; both filters.
- **litdata**: chunks of 64 MB from `optimize`. Stored as `JpegImageFile`, which its own serializer decodes by
  `decode_jpeg`; and stored as bytes, for Pillow. `batch_decode` is on by itself where it helps.
- **MosaicML Streaming**: MDS shards of the original bytes, uncompressed, default shuffle (py1e), one canonical node.
- **DALI**: its WebDataset reader with a buffer of 256, the crop-aware `image_random_crop`, antialiased resize, mirror
  fused into `crop_mirror_normalize`, one thread, default queue of 2 batches; both filters. `jpeg_fancy_upsampling`
  changed neither its pixels nor, so, its speed.
- **FFCV**: one worker, `os_cache`, random order, uint8 out; all JPEG at the originals' mean quality, and what its
  documentation recommends for ImageNet: longest side up to 500, half of the pictures stored raw, quality 90:
  a raw picture costs no decoding, and three times the bytes."""
