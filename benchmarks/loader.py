"""The loader against its peers, each on one core in a process of its own: images per CPU second, and pixel error."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conditions import spread, table, tell
from paths.path import BATCH, Data
from pixels import error
from rows import BASE, MARKED, OURS, ROWS, TRIED, Row
from sets import draw_photographs, pack_photographs
from turns import OutError, Runner, take_turns

from data_shards.restart import MISSING, available

REPEATS = 7


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Every path that starts, in turn. One that does not is told, with the reason."""
    data = make_data(scratch)
    out: dict[str, str] = {}
    runners: dict[str, Runner] = {}
    errors: dict[str, float] = {}
    stored: dict[str, float] = {}
    with ExitStack() as ends:
        for number, row in enumerate(ROWS):
            own = scratch / f"path-{number}"
            own.mkdir()
            try:
                runner = start(row, data, own)
                ends.callback(runner.end)
                stored[row.title] = stored_kilobytes(row, data, own)
                errors[row.title] = error(runner, row, data, own)
            except OutError as reason:
                out[row.title] = str(reason)
                say(f"{row.title}: {reason}")
                continue
            runners[row.title] = runner
            say(f"{row.title}: opened, pixel error {errors[row.title]:.3f}")
        passes, failed = take_turns(runners, REPEATS, say)
    return {
        "settings": {"repeats": REPEATS, "batch": BATCH, **describe(data)},
        "raw": passes,
        "versions": {title: runner.versions for title, runner in runners.items()},
        "pixel_error": errors,
        "stored_kilobytes": stored,
        "out": out | failed,
        "medians": summary(passes),
    }


def make_data(scratch: Path) -> Data:
    """The photographs, and the sets packed from them: without restart markers and, where jpegtran is, with."""
    images = scratch / "images"
    draw_photographs(images)
    pack_photographs(images, scratch / "shards")
    if available():
        pack_photographs(images, scratch / "marked", restart_markers=True)
    return Data(images=images, shards=scratch / "shards", marked=scratch / "marked", own=scratch)


def start(row: Row, data: Data, own: Path) -> Runner:
    """The row's process, which keeps its own format in `own`."""
    if row.options.get("marked") and not data.marked.exists():
        raise OutError(MISSING)
    return Runner(row, {key: str(folder) for key, folder in data._replace(own=own)._asdict().items()}, own)


def stored_kilobytes(row: Row, data: Data, own: Path) -> float:
    """Per training picture: of the path's own format, or of the shards that it reads."""
    formats = [file for file in own.rglob("*") if file.is_file() and file.name != "log"]
    shards = (data.marked if row.options.get("marked") else data.shards) / "shards"
    files = formats or list(shards.glob("train-*"))
    return sum(file.stat().st_size for file in files) / len(data.files()) / 1000


def describe(data: Data) -> dict[str, Any]:
    """The photographs in numbers."""
    from PIL import Image

    files = data.files()
    sizes = [Image.open(file).size for file in files]
    return {
        "images": len(files),
        "shards": len(data.tars()),
        "mean_kilobytes": sum(file.stat().st_size for file in files) / len(files) / 1000,
        "mean_width": sum(width for width, _ in sizes) / len(sizes),
        "mean_height": sum(height for _, height in sizes) / len(sizes),
    }


def summary(passes: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Speeds by path, their ratios to the base round by round, and ours to each path's."""
    speeds = {title: [done["images"] / done["cpu"] for done in rounds] for title, rounds in passes.items()}
    return {
        "images_per_cpu_second": {title: spread(repeats) for title, repeats in speeds.items()},
        "over_base": {title: paired(repeats, speeds[BASE]) for title, repeats in speeds.items()},
        "ours_over_it": {
            mine: {title: paired(speeds[mine], repeats) for title, repeats in speeds.items() if title != mine}
            for mine in (OURS, MARKED)
            if mine in speeds
        },
    }


def paired(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """The spread of the ratios, round by round."""
    return spread([mine / its for mine, its in zip(ours, theirs, strict=True)])


def page(result: dict[str, Any]) -> str:
    """The table of paths, and what was tried for each."""
    settings, medians = result["settings"], result["medians"]
    filters = {row.title: row.filter_name for row in ROWS}
    ours = medians["ours_over_it"]
    rows = [
        [
            title,
            tell(speed, 0),
            tell(medians["over_base"][title]),
            *(tell(ratios[title]) if title in ratios else "" for ratios in ours.values()),
            f"{result['pixel_error'][title]:.3f}",
            filters[title],
            f"{result['stored_kilobytes'][title]:.0f}",
        ]
        for title, speed in medians["images_per_cpu_second"].items()
    ]
    missing = "".join(
        f"- **{title}** is not in the table: {reason}\n" for title, reason in result["out"].items()
    )
    versions = {name: number for held in result["versions"].values() for name, number in held.items()}
    header = [
        "path",
        "images per CPU second",
        f"its speed over {BASE}",
        *(f"{mine}, over it" for mine in ours),
        "pixel error, of 255",
        "filter",
        "kB stored per picture",
    ]
    return f"""## Reading, decoding and cropping

{table(header, rows)}

Peers' versions: {", ".join(f"{name} {number}" for name, number in sorted(versions.items()))}.
{missing}
How: {settings["images"]} made-up photographs of {settings["mean_width"]:.0f} x {settings["mean_height"]:.0f} px and
{settings["mean_kilobytes"]:.0f} kB on average (JPEG quality 91 to 95, three in four 4:2:0), in {settings["shards"]}
shards or each peer's own format made of the same JPEGs, to uint8 batches of {settings["batch"]} at 224 px
(RandomResizedCrop, flip). Every path has a process of its own on one core, with one thread to compute with, and stays
open. One unmeasured pass over all images each, then {settings["repeats"]} rounds in which every path makes one pass;
the order of the paths alternates. A pass counts the user and system seconds of all threads, from a quiet process to a
quiet process: what is decoded ahead is paid for. Ratios are taken round by round; numbers are medians (lowest to
highest). This loader runs as it trains: with its checksums, its exactly-once order and `processes=0`.

Pixel error: mean absolute difference from Pillow's decode, crop and resize on the same boxes with the same filter,
one box in every eighth picture. FFCV takes no boxes and averages areas: its reference is the largest centred square of
the original JPEG (which FFCV has encoded anew), decoded by Pillow and averaged by exact areas, which Pillow cannot.

What was tried, per peer:

{TRIED}

Not shown: disks and networks (all is in the page cache), several processes, GPUs, and ImageNet itself."""
