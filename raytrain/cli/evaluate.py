"""`raytrain eval`: a checkpoint on a split, each sample once, on this machine."""

from typing import Annotated

import typer

from raytrain.cli.options import AsJson, DataUrl

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, or a run for its newest.")],
    data: DataUrl,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "val",
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels, instead of the recipe's.")] = None,
    ema: Annotated[bool, typer.Option("--ema", help="The average of the weights (ema_decay).")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint: top-1, top-5, loss, calibration error, coverage at a target accuracy."""
    from raytrain.offline import evaluate_checkpoint
    from raytrain.session import warn

    found = evaluate_checkpoint(checkpoint, data, split=split, image_size=image_size, ema=ema, say=warn)
    if as_json:
        print(found.model_dump_json(indent=1))
        return
    print(f"{found.samples:,} images of split '{found.split}', each once")
    print(f"  top-1 {found.top1:.2%}   top-5 {found.top5:.2%}   loss {found.loss:.4f}")
    print(f"  calibration error {found.calibration_error:.2%}, the mean gap between confidence and accuracy")
    for row in found.coverage:
        print(f"  {row.accuracy:.0%} right on the most confident {row.coverage:.1%} of the images")
