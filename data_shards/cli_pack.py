"""`raytrain data pack`: from folders and archives of images to a shard set."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data_shards.cli_options import Json, MaxBad, Workers, print_json

if TYPE_CHECKING:
    from data_shards.pack import PackResult

Src = Annotated[
    list[Path],
    typer.Argument(
        help="A folder SRC/[train,val/]<class>/<image>; ILSVRC2012_img_train.tar; an ImageNet-22K archive or a folder "
        "of n01440764.tar (gzipped ones with --scratch); or WebDataset tars, listed or in a folder."
    ),
]
Out = Annotated[str, typer.Option(help="A local path or s3://bucket/prefix.")]
Kind = Annotated[
    Literal["folder", "class-tars", "webdataset"] | None,
    typer.Option(help="What SRC is, where it cannot be told."),
]
Val = Annotated[Path | None, typer.Option(help="Validation images: ILSVRC2012_img_val.tar or a folder.")]
ValLabels = Annotated[
    Path | None, typer.Option(help="Their classes: ILSVRC2012_devkit_t12.tar.gz or LOC_val_solution.csv.")
]
Classes = Annotated[
    Path | None,
    typer.Option(help="A file with a class per line: only these are packed, labelled in this order."),
]
Scratch = Annotated[
    Path | None,
    typer.Option(help="What is gzipped is unpacked here; may be removed when the set is complete."),
]
ValFraction = Annotated[float, typer.Option(help="Cut off as val where there is none.")]
ValPerClass = Annotated[
    int | None, typer.Option(help="The first N images per class are val, by name (22K-P: 50).")
]
Minival = Annotated[
    int | None, typer.Option(help="N more per class are held out of train, as the split minival.")
]
MinivalSeed = Annotated[
    int | None, typer.Option(help="Choose them by this seed instead of the first by name.")
]
MinPerClass = Annotated[
    int | None, typer.Option(help="Leave out classes of fewer training images (22K-P: 501).")
]
Resize = Annotated[
    int | None, typer.Option(help="Pixels of the short edge; JPEG of quality 95, nothing is enlarged.")
]
ResizeMode = Annotated[
    Literal["short", "squash"], typer.Option(help="squash: both edges, whatever the aspect, enlarged too.")
]
RestartMarkers = Annotated[
    bool,
    typer.Option(
        "--restart-markers/--no-restart-markers",
        help="Mark JPEGs, without loss, so that a crop is decoded alone. Needs jpegtran; plain where there is none.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="A Ray cluster whose nodes reach SRC and --out: pack there, --workers at a time."),
]


def pack(
    src: Src,
    out: Out,
    workers: Workers = None,
    address: Address = None,
    seed: Annotated[int, typer.Option(help="Of the one shuffle over all classes.")] = 0,
    samples_per_shard: Annotated[int, typer.Option(help="A worker holds one shard in memory.")] = 1000,
    name: Annotated[str | None, typer.Option(help="The set's name; the name of SRC if not given.")] = None,
    kind: Kind = None,
    val: Val = None,
    val_labels: ValLabels = None,
    classes: Classes = None,
    scratch: Scratch = None,
    val_fraction: ValFraction = 0.1,
    val_per_class: ValPerClass = None,
    minival: Minival = None,
    minival_seed: MinivalSeed = None,
    min_per_class: MinPerClass = None,
    resize: Resize = None,
    resize_mode: ResizeMode = "short",
    restart_markers: RestartMarkers = True,
    max_bad: MaxBad = 1e-4,
    as_json: Json = False,
) -> None:
    """Pack folders or archives of JPEG and PNG images into webdataset shards. Run it again to continue or check."""
    from data_shards import pack as room
    from data_shards import restart
    from data_shards import sweep as rest
    from data_shards.progress import progress_bars
    from data_shards.shardset import checked
    from data_shards.sources import Inputs
    from data_shards.store import open_store

    options = checked(
        room.PackOptions,
        name=name or src[0].resolve().name.split(".tar")[0],
        seed=seed,
        samples_per_shard=samples_per_shard,
        val_fraction=val_fraction,
        val_per_class=val_per_class,
        minival=minival,
        minival_seed=minival_seed,
        min_per_class=min_per_class,
        resize=resize,
        resize_mode=resize_mode if resize else None,
        restart_markers=(restart_markers and restart.available()) or None,
    )
    if restart_markers and not restart.available():
        typer.echo(f"packing without restart markers: {restart.MISSING}", err=True)
    inputs = Inputs(
        paths=tuple(src), kind=kind, val=val, val_labels=val_labels, classes=classes, scratch=scratch
    )
    began = time.monotonic()
    with progress_bars("listing archives", "packing") as (listed, packed):
        result = room.pack(inputs, out, options, workers, max_bad, packed, listed, address)
    aborted, _ = rest.sweep(open_store(out), rest.SAFE, time.time())
    _tell(out, result, time.monotonic() - began, as_json, len(aborted))
    if scratch is not None and not as_json:
        typer.echo(f"{scratch} is no longer needed")


def _tell(out: str, result: "PackResult", seconds: float, as_json: bool, aborted: int) -> None:
    shards = [shard for split in result.shardset.splits.values() for shard in split.shards]
    facts = {
        "images": sum(shard.samples for shard in shards),
        "classes": len(result.shardset.classes),
        "shards": len(shards),
        "bytes": sum(shard.bytes for shard in shards),
        "quarantined": result.quarantined,
    }
    cost = result.restarts
    if as_json:
        print_json(
            out=out,
            **facts,
            resumed=result.resumed,
            ignored=len(result.ignored),
            complete_before=result.complete_before,
            mended=result.mended,
            unfinished_aborted=aborted,
            restart_markers=any(shard.segments for shard in shards),
            restart_markers_added=cost and cost.added,
            restart_markers_left=cost and cost.left,
            fingerprint=result.shardset.fingerprint,
            seconds=round(seconds, 1),
        )
        return
    if result.ignored:
        typer.echo(
            f"ignored: {len(result.ignored):,} files that are no .jpg, .jpeg or .png: {result.ignored[0]}"
        )
    if result.quarantined:
        typer.echo(
            f"quarantined: {result.quarantined:,} files that are no pictures, see {out}/quarantine.jsonl"
        )
    if result.resumed:
        typer.echo(f"continued: {result.resumed:,} images were packed before")
    if result.mended:
        typer.echo(f"mended: {result.mended:,} images in damaged shards were packed again")
    elif result.complete_before:
        typer.echo(
            f"{out} was complete already, and every file has its size; `raytrain data verify {out}` reads them"
        )
    if aborted:
        typer.echo(f"swept: {aborted:,} uploads that were begun more than a day ago and never ended")
    if cost is not None:
        share = cost.added / (facts["bytes"] - cost.added)
        typer.echo(
            f"restart markers: {cost.added:+,} bytes ({share:+.1%}), {cost.left:,} images left as they were; "
            "no pixel is another"
        )
    listing = ", ".join(f"{count:,} {fact}" for fact, count in facts.items())
    typer.echo(f"{out}: {listing}; {seconds:.1f} s")
    for name, split in result.shardset.splits.items():
        if split.samples == 0:
            typer.echo(
                f"its split {name} is empty: nothing can be evaluated on it; see --val and --val-fraction"
            )
