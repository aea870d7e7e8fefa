"""Show: what a shard set holds, as a table of its classes and a sheet of its pictures."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from data_shards.decode import UNREADABLE, UndecodableError, image_size
from data_shards.index import Index
from data_shards.mix import Mix
from data_shards.order import Ints
from data_shards.reader import read_pictures
from data_shards.shardset import ShardSet

BAR = 32
"""Width of the longest bar, in characters."""

EDGES = 12
"""Of a long class list, this many of the most and of the fewest samples are shown."""

COLUMNS, ROWS, TILE, CAPTION = 12, 8, 112, 14
"""The sheet: tiles across and down, a tile's edge and its caption's height in pixels."""


def describe(shardset: ShardSet, split: str) -> RenderableType:
    """Counts of every split, and the class histogram of one."""
    tools = ", ".join(f"{name} {version}" for name, version in shardset.tools.items())
    made = [f"bytes written by {tools}"] if tools else []
    return Group(_splits_table(shardset), *made, "", _histogram(shardset, split))


def describe_mix(mix: Mix) -> RenderableType:
    """A line per set: what is drawn from it, and what of its class list is new."""
    title = f"{mix.name}: a mix, {len(mix.classes)} classes, fingerprint {mix.fingerprint[:16]}"
    table = Table("set", "split", title=title, title_justify="left", box=None)
    for column in ("images", "classes", "new", "drawn", "times an epoch"):
        table.add_column(column, justify="right")
    table.add_column("URL", overflow="fold")
    known, turns = set[str](), sum(mix.turns)
    for part, own in zip(mix.training.parts, mix.turns, strict=True):
        samples, classes = part.chosen.samples, set(part.shardset.classes)
        times = mix.epoch * own / turns / samples
        counts = (f"{count:,}" for count in (samples, len(classes), len(classes - known)))
        table.add_row(part.name, part.split, *counts, f"{own / turns:.1%}", f"{times:.3g}", part.url)
        known |= classes
    epoch = f"an epoch is {mix.epoch:,} images: those of {mix.first.name} once. Evaluation reads {mix.first.name} alone"
    return Group(table, epoch)


def _splits_table(shardset: ShardSet) -> Table:
    title = f"{shardset.name}: {len(shardset.classes)} classes, fingerprint {shardset.fingerprint[:16]}"
    table = Table("split", title=title, title_justify="left", box=None)
    for column in ("images", "shards", "bytes", "per class: fewest", "most"):
        table.add_column(column, justify="right")
    for name, split in shardset.splits.items():
        counts = (
            split.samples,
            len(split.shards),
            sum(shard.bytes for shard in split.shards),
            min(split.class_counts),
            max(split.class_counts),
        )
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _histogram(shardset: ShardSet, split: str) -> Table:
    counts = shardset.split(split).class_counts
    ranked = sorted(range(len(counts)), key=lambda label: (-counts[label], label))
    hidden = len(ranked) - 2 * EDGES
    shown = ranked if hidden <= 0 else [*ranked[:EDGES], None, *ranked[-EDGES:]]
    table = Table("label", "class", "images", "", title=f"{split}, by class", title_justify="left", box=None)
    for label in shown:
        if label is None:
            table.add_row("", f"... {hidden:,} more", "", "")
            continue
        bar = "█" * max(1 if counts[label] else 0, round(BAR * counts[label] / max(counts)))
        table.add_row(str(label), shardset.classes[label], f"{counts[label]:,}", Text(bar, style="cyan"))
    return table


def contact_sheet(url: str, shardset: ShardSet, split: str) -> Image.Image:
    """Pictures of the split's first shard, by class, each with its WNID. One index and 96 ranged reads."""
    tiles = list(_tiles(url, shardset, split))
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(tiles):
        left, top = number % COLUMNS * TILE, number // COLUMNS * (TILE + CAPTION)
        sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        pen.text((left + 4, top + TILE), caption[: TILE // 6], fill="gray")
    return sheet


def _tiles(url: str, shardset: ShardSet, split: str) -> Iterator[tuple[Image.Image, str]]:
    chosen = shardset.split(split)
    for image, label in read_pictures(url, chosen, chosen.shards[0], _spread):
        yield _tile(image), shardset.classes[label]


def _tile(raw: bytes) -> Image.Image:
    """The picture, small; nothing where no decoder reads it."""
    try:
        image_size(raw)
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as picture:
            scale = (TILE - 4) / max(picture.size)
            size_there = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            return picture.convert("RGB").resize(size_there, Image.Resampling.LANCZOS)
    except (UndecodableError, *UNREADABLE):
        return Image.new("RGB", (TILE - 4, TILE - 4), "gray")


def _spread(records: Index) -> Ints:
    """COLUMNS * ROWS rows or fewer, evenly over the classes, those of a class side by side."""
    ordered: Ints = np.argsort(records["label"], kind="stable")
    wanted = min(COLUMNS * ROWS, len(ordered))
    chosen: Ints = ordered[np.linspace(0, len(ordered) - 1, wanted).astype(int)]
    return chosen
