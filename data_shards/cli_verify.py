"""`raytrain data verify` and `sweep`: is a set as it was packed, and what did killed writers leave beside it?"""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data_shards.cli_options import Json, MaxBad, Url, Workers, print_json

if TYPE_CHECKING:
    from data_shards.store import Unfinished
    from data_shards.verify import Verification


def verify(
    url: Url,
    workers: Workers = None,
    depth: Annotated[
        Literal["index", "digests", "pixels"],
        typer.Option(help="Sizes and indexes; every byte, too; or every picture decoded, too."),
    ] = "digests",
    max_bad: MaxBad = 1e-4,
    as_json: Json = False,
) -> None:
    """Check a shard set. Damage is exit code 1, and so is more dirt than --max-bad allows.

    Damage is what is not as it was packed. Dirt is a picture that was packed or indexed as it is and that no decoder
    reads: only --depth pixels looks for it, and training puts up with as much. Unfinished uploads are listed.
    Of a mix (.yaml) each set is checked, and that their training splits share no
    keys (not with --depth index, which sees none). With --json a mix is a list of what is told of each.
    """
    from data_shards.mix import is_mix, load_mix
    from data_shards.shared_keys import check_keys

    if not is_mix(url):
        alone = _verified(url, workers, depth, max_bad, as_json)
        if as_json:
            typer.echo(alone.model_dump_json())
        if not _sound(alone):
            raise typer.Exit(1)
        return
    mix = load_mix(url)
    urls = dict.fromkeys(part.url for part in mix.training.parts)
    found = [_verified(one, workers, depth, max_bad, as_json) for one in urls]
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
    if not all(_sound(one) for one in found):
        raise typer.Exit(1)
    if depth == "index":
        typer.echo(f"{url}: whether the sets share keys was not looked at: no tar was read", err=as_json)
    else:
        check_keys(url, mix, None)


def _sound(verification: "Verification") -> bool:
    return not verification.faults and not verification.excess


def _verified(
    url: str, workers: int | None, depth: Literal["index", "digests", "pixels"], max_bad: float, quiet: bool
) -> "Verification":
    """Verify one set, and print what was found unless that is done elsewhere."""
    from data_shards import verify as room
    from data_shards.pool import cores
    from data_shards.progress import progress_bar

    began = time.monotonic()
    with progress_bar("verifying shards") as advance:
        verification = room.verify(url, workers or cores(), advance, depth, max_bad)
    seconds = time.monotonic() - began
    if not quiet:
        for line in _findings(url, verification, time.time()):
            typer.echo(line)
        typer.echo(f"{url}: {_verdict(verification)}, {seconds:.1f} s")
    return verification


def _findings(url: str, verification: "Verification", now: float) -> Iterator[str]:
    for fault in verification.faults:
        yield f"{url}/{fault.file}, byte {fault.offset:,}: {fault.what}"
    for sample in verification.undecodable:
        yield f"undecodable: {url}/{sample.file} ({sample.split}, {sample.wnid}): {sample.reason}"
    for over in verification.excess:
        yield f"too many: {over}. Pack anew without them, or put up with them by a higher --max-bad here and in train"
    if verification.unfinished is None:
        yield "unfinished uploads: not listed, these credentials lack s3:ListBucketMultipartUploads"
    elif verification.unfinished:
        yield from (_told(url, write, now) for write in verification.unfinished)
        yield f"they are no part of the set: `raytrain data sweep {url}` aborts those of a day or more"


def _told(url: str, write: "Unfinished", now: float) -> str:
    size = "bytes not known" if write.bytes is None else f"{write.bytes:,} bytes so far"
    return f"unfinished: {url}/{write.key}, begun {(now - write.begun) / 3600:,.1f} h ago, {size}"


def _verdict(verification: "Verification") -> str:
    found = f"{len(verification.faults)} faults" if verification.faults else "all as packed"
    counts = f"{verification.samples:,} images, {verification.shards:,} shards, {verification.bytes:,} bytes"
    if verification.depth == "index":
        return f"{found} by sizes and indexes (no tar was read, so no key was seen); {counts}"
    if verification.depth == "pixels":
        dirt = f"{len(verification.undecodable):,} pictures that no decoder reads"
        allowed = (
            "" if verification.excess or not verification.undecodable else " (no more than --max-bad allows)"
        )
        return f"{found}, {dirt}{allowed}; {counts}"
    return f"{found}; {counts}"


def sweep(
    url: Url,
    older_than: Annotated[
        float,
        typer.Option(
            help="Hours since they were begun. Less than 24 only where nothing is being packed there now.",
        ),
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Abort the uploads of a set's own files at URL that killed writers left unfinished, and list younger ones.

    Objects stay, and so does whatever else is under way below URL.
    """
    from data_shards import sweep as room
    from data_shards.errors import DataUsageError
    from data_shards.store import open_store

    if not older_than > 0:
        raise DataUsageError(
            f"--older-than {older_than:g}: it is hours, more than 0, or what is being written now would be aborted"
        )
    now = time.time()
    aborted, left = room.sweep(open_store(url), older_than * room.HOUR, now)
    if as_json:
        print_json(url=url, aborted=[write.key for write in aborted], left=[write.key for write in left])
        return
    for write in left:
        typer.echo(_told(url, write, now))
    typer.echo(
        f"{url}: {len(aborted):,} unfinished uploads aborted, {len(left):,} younger than {older_than:g} h left"
    )
