"""`raytrain export`: a checkpoint's weights under another library's names."""

from typing import Annotated

import typer

from raytrain.cli.options import AsJson

app = typer.Typer(add_completion=False)


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, or a run for its newest.")],
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="FILE", help="Where to: .safetensors, or .pth as torch.save writes it."
        ),
    ],
    layout: Annotated[
        str, typer.Option(help="Whose names: raytrain (ours), torchvision, timm, microsoft or cbam.")
    ] = "raytrain",
    ema: Annotated[bool, typer.Option("--ema", help="The weights' average instead of the weights.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's weights for other libraries, with the list of its classes beside them."""
    from raytrain.session import warn
    from raytrain.tell import size
    from raytrain.weights.export import export as write
    from raytrain.weights.libraries import WORDS

    found = write(checkpoint, layout, out, ema=ema, say=warn)
    if as_json:
        print(found.model_dump_json(indent=1))
        return
    print(f"{found.checkpoint}, {WORDS[found.layout]}")
    print(f"  {found.file}: {found.tensors} tensors, {size(found.bytes)}, sha256 {found.sha256[:12]}")
    print(f"  {found.classes_file}: the WNIDs of the head's {found.classes:,} rows")
