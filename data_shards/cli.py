"""`raytrain data`: make, pack, check and look at shard sets. Only typer is imported before a command runs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data_shards.cli_index import index
from data_shards.cli_options import Json, Url, Workers, print_json
from data_shards.cli_pack import pack
from data_shards.cli_verify import sweep, verify

if TYPE_CHECKING:
    from data_shards.mix import Mix

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make, pack, check and look at shard sets."
)

app.command()(pack)
app.command()(index)
app.command()(verify)
app.command()(sweep)


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
        classes={"22k": 48, "1k": 16}[space] if classes is None else classes,
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
        print_json(out=str(out), images=total, made=made, classes=options.classes, seconds=round(seconds, 1))
    else:
        kept = f" ({total - made:,} were there)" if made < total else ""
        typer.echo(f"{out}: {total:,} images of {options.classes} classes{kept}, {seconds:.1f} s")
        typer.echo(f"next: raytrain data pack {out} --out SHARDS")


@app.command()
def show(
    url: Url,
    split: Annotated[str, typer.Option(help="The split of the histogram and the sheet.")] = "train",
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Print what a shard set holds: splits, counts, classes; with --sheet also its pictures. Or what a mix draws."""
    from data_shards.mix import Mix, load_data

    shardset = load_data(url)
    if isinstance(shardset, Mix):
        _show_mix(shardset, url, sheet, as_json)
        return
    chosen = shardset.split(split)
    if as_json:
        splits = {
            name: {"samples": part.samples, "shards": len(part.shards), "class_counts": part.class_counts}
            for name, part in shardset.splits.items()
        }
        print_json(
            name=shardset.name, fingerprint=shardset.fingerprint, classes=shardset.classes, splits=splits
        )
    else:
        from rich.console import Console

        from data_shards.show import describe

        Console().print(describe(shardset, split))
    if sheet is not None and chosen.shards:
        from data_shards.show import contact_sheet
        from data_shards.store.local import space_for

        drawn = contact_sheet(url, shardset, split)
        with space_for(sheet, 0):
            drawn.save(sheet, "PNG")
        typer.echo(f"wrote {sheet}", err=True)


def _show_mix(mix: "Mix", url: str, sheet: Path | None, as_json: bool) -> None:
    from data_shards.errors import DataUsageError

    if sheet is not None:
        raise DataUsageError(
            f"{url} is a mix: --sheet draws the pictures of one set, such as {mix.first.url}"
        )
    if not as_json:
        from rich.console import Console

        from data_shards.show import describe_mix

        Console().print(describe_mix(mix))
        return
    sets = [
        {
            "name": part.name,
            "url": part.url,
            "split": part.split,
            "samples": part.chosen.samples,
            "turns": turns,
        }
        for part, turns in zip(mix.training.parts, mix.turns, strict=True)
    ]
    print_json(name=mix.name, fingerprint=mix.fingerprint, classes=mix.classes, epoch=mix.epoch, sets=sets)
