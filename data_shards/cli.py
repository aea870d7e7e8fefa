"""`raytrain data`: make, pack, check and look at shard sets. Only typer is imported before a command runs."""

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make, pack, check and look at shard sets."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Workers = Annotated[int | None, typer.Option(min=1, help="How many at a time; one per core if not given.")]
Url = Annotated[str, typer.Argument(help="A local path or s3://bucket/prefix.")]


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Where to: an empty directory, or a set of the same options.")],
    classes: Annotated[int | None, typer.Option(help="48 in the 22k space, 16 in the 1k space.")] = None,
    images: Annotated[int, typer.Option(help="Training images per class.")] = 100,
    val_images: Annotated[int, typer.Option(help="Validation images per class.")] = 20,
    size: Annotated[int, typer.Option(help="Pixels of the short edge, about; 16 to 1024.")] = 64,
    label_noise: Annotated[float, typer.Option(help="Fraction of training images in a wrong folder.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed draws other images of the same classes.")] = 0,
    space: Annotated[
        Literal["22k", "1k"], typer.Option(help="Which classes; half of 1k's are in 22k.")
    ] = "22k",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Draw made-up photographs in ImageNet's folder layout. Same options, same bytes."""
    from data_shards import synth as room
    from data_shards.pool import cores
    from data_shards.progress import progress_bar
    from data_shards.shardset import checked

    options = checked(
        room.SynthOptions,
        classes=classes or {"22k": 48, "1k": 16}[space],
        images=images,
        val_images=val_images,
        size=size,
        label_noise=label_noise,
        seed=seed,
        space=space,
    )
    began = time.monotonic()
    with progress_bar("drawing") as advance:
        made = room.synth(out, options, workers or cores(), advance)
    total = options.classes * (options.images + options.val_images)
    seconds = time.monotonic() - began
    if as_json:
        _print_json(out=str(out), images=total, made=made, classes=options.classes, seconds=round(seconds, 1))
    else:
        kept = f" ({total - made:,} were there)" if made < total else ""
        typer.echo(f"{out}: {total:,} images of {options.classes} classes{kept}, {seconds:.1f} s")
        typer.echo(f"next: raytrain data pack {out} --out URL")


@app.command()
def pack(
    src: Annotated[Path, typer.Argument(help="SRC/{train,val}/<class>/<image> or SRC/<class>/<image>.")],
    out: Annotated[str, typer.Option(help="A local path or s3://bucket/prefix.")],
    workers: Workers = None,
    seed: Annotated[int, typer.Option(help="Of the one shuffle over all classes.")] = 0,
    samples_per_shard: Annotated[int, typer.Option(help="A worker holds one shard in memory.")] = 1000,
    name: Annotated[str | None, typer.Option(help="The set's name; the name of SRC if not given.")] = None,
    val_fraction: Annotated[float, typer.Option(help="Cut off as val where SRC has no val folder.")] = 0.1,
    max_bad: Annotated[
        float, typer.Option(help="Stop if more of all files (and more than 1) are bad.")
    ] = 1e-3,
    as_json: Json = False,
) -> None:
    """Pack a folder of JPEG and PNG images into webdataset shards. Run it again to continue or check."""
    from data_shards import pack as room
    from data_shards.pool import cores
    from data_shards.progress import progress_bar
    from data_shards.shardset import checked

    options = checked(
        room.PackOptions,
        name=name or src.resolve().name,
        seed=seed,
        samples_per_shard=samples_per_shard,
        val_fraction=val_fraction,
    )
    began = time.monotonic()
    with progress_bar("packing") as advance:
        result = room.pack(src, out, options, workers or cores(), max_bad, advance)
    seconds = time.monotonic() - began
    shards = [shard for split in result.shardset.splits.values() for shard in split.shards]
    facts = {
        "images": sum(shard.samples for shard in shards),
        "classes": len(result.shardset.classes),
        "shards": len(shards),
        "bytes": sum(shard.bytes for shard in shards),
        "quarantined": result.quarantined,
    }
    if as_json:
        _print_json(
            out=out,
            **facts,
            resumed=result.resumed,
            ignored=len(result.ignored),
            complete_before=result.complete_before,
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
    if result.complete_before:
        typer.echo(f"{out} was complete already: nothing to do")
    listing = ", ".join(f"{count:,} {fact}" for fact, count in facts.items())
    typer.echo(f"{out}: {listing}; {seconds:.1f} s")


@app.command()
def verify(url: Url, workers: Workers = None, as_json: Json = False) -> None:
    """Read every byte of a shard set again. Exit code 1 if anything is not as it was packed."""
    from data_shards import verify as room
    from data_shards.pool import cores
    from data_shards.progress import progress_bar

    began = time.monotonic()
    with progress_bar("verifying shards") as advance:
        verification = room.verify(url, workers or cores(), advance)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(verification.model_dump_json())
    else:
        for fault in verification.faults:
            typer.echo(f"{url}/{fault.file}, byte {fault.offset:,}: {fault.what}")
        found = f"{len(verification.faults)} faults" if verification.faults else "all as packed"
        counts = (
            f"{verification.samples:,} images, {verification.shards:,} shards, {verification.bytes:,} bytes"
        )
        typer.echo(f"{url}: {found}; {counts}, {seconds:.1f} s")
    if verification.faults:
        raise typer.Exit(1)


@app.command()
def show(
    url: Url,
    split: Annotated[str, typer.Option(help="The split of the histogram and the sheet.")] = "train",
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Print what a shard set holds: splits, counts, classes; with --sheet also its pictures."""
    from data_shards.shardset import load_shardset

    shardset = load_shardset(url)
    chosen = shardset.split(split)
    if as_json:
        splits = {
            name: {"samples": part.samples, "shards": len(part.shards), "class_counts": part.class_counts}
            for name, part in shardset.splits.items()
        }
        _print_json(
            name=shardset.name, fingerprint=shardset.fingerprint, classes=shardset.classes, splits=splits
        )
    else:
        from rich.console import Console

        from data_shards.show import describe

        Console().print(describe(shardset, split))
    if sheet is not None and chosen.shards:
        from data_shards.show import contact_sheet
        from data_shards.store.local import space_for

        with space_for(sheet, 0):
            contact_sheet(url, shardset, split).save(sheet, "PNG")
        typer.echo(f"wrote {sheet}", err=True)


def _print_json(**fields: object) -> None:
    typer.echo(json.dumps(fields))
