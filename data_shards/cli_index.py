"""`raytrain data index`: from WebDataset tars of others to a shard set, where they lie."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_shards.cli_options import Json, MaxBad, Url, Workers, print_json

if TYPE_CHECKING:
    from data_shards.adopt import AdoptResult


def index(
    url: Url,
    classes: Annotated[Path, typer.Option(help="A WNID per line: line i is label i.")],
    label_field: Annotated[
        str, typer.Option(help="The field of each .json that is the label; the .cls if not given.")
    ] = "",
    split: Annotated[
        list[str] | None,
        typer.Option(help="NAME='PATTERN' of tars, once per split; by _info.json or names if not given."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The set's name; the last part of URL if not given.")
    ] = None,
    max_bad: MaxBad = 1e-4,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Adopt WebDataset tars of others: an index and a manifest beside them. Run it again to continue."""
    from data_shards import adopt as room
    from data_shards.class_lists import read_classes
    from data_shards.pool import cores
    from data_shards.progress import progress_bar
    from data_shards.shardset import checked
    from data_shards.tarsplits import read_patterns

    options = checked(
        room.AdoptOptions,
        name=name or url.rstrip("/").rpartition("/")[2],
        label_field=label_field,
        splits=read_patterns(split or []),
    )
    began = time.monotonic()
    with progress_bar("indexing shards") as advance:
        result = room.adopt(url, read_classes(classes), options, workers or cores(), max_bad, advance)
    _tell(url, result, time.monotonic() - began, as_json)


def _tell(url: str, result: "AdoptResult", seconds: float, as_json: bool) -> None:
    found = result.shardset
    facts = {
        "images": sum(part.samples for part in found.splits.values()),
        "classes": len(found.classes),
        "shards": sum(len(part.shards) for part in found.splits.values()),
        "quarantined": result.quarantined,
    }
    left_out = len(result.left_out)
    if as_json:
        splits = {name: part.samples for name, part in found.splits.items()}
        print_json(
            url=url,
            **facts,
            splits=splits,
            left_out=left_out,
            resumed=result.resumed,
            complete_before=result.complete_before,
            fingerprint=found.fingerprint,
            seconds=round(seconds, 1),
        )
        return
    if left_out:
        typer.echo(f"left out: {left_out:,} tars of no split, {result.left_out[0]} among them")
    if result.quarantined:
        typer.echo(f"quarantined: {result.quarantined:,} pictures, see {url}/quarantine.jsonl")
    if result.complete_before:
        typer.echo(f"{url} was complete already: nothing to do")
    for split_name, part in found.splits.items():
        shards = f"{len(part.shards):,} shard{'' if len(part.shards) == 1 else 's'}"
        typer.echo(f"{split_name}: {part.samples:,} images in {shards}")
        if part.class_counts.count(0):
            typer.echo(f"  {part.class_counts.count(0):,} classes of the list have none")
    listing = ", ".join(f"{count:,} {fact}" for fact, count in facts.items())
    typer.echo(f"{url}: {listing}; {seconds:.1f} s")
    if not result.complete_before:
        typer.echo(
            f"only headers of pictures were read. To decode all: raytrain data verify {url} --depth pixels"
        )
