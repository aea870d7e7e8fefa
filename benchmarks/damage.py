"""Damage at random places of shards and indexes: is it all found, and is a wrong sample ever delivered?

Two sets of the same pictures: one packed with restart markers, one of the same tars adopted where they lie. Every
attempt cuts one file off, or flips one bit of it, then asks two things apart: whether `raytrain data verify` finds a
fault, and whether the reader, which does not wait for verify, delivers a sample that is not what was packed.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_shards.adopt import AdoptOptions, adopt
from data_shards.errors import DataError
from data_shards.pack import PackOptions, pack
from data_shards.reader import Reader
from data_shards.restart import available
from data_shards.shardset import load_shardset
from data_shards.synth import SynthOptions, synth
from data_shards.verify import verify

TRUNCATIONS, FLIPS = 500, 1000


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One damage and what came of it. `wrong` samples were delivered and are not those that were packed."""

    kind: str
    file: str
    at: int
    found: bool
    refused: int
    wrong: int


def adopted(packed: str, root: Path) -> str:
    """A copy of the tars of a packed set, adopted; returns its URL."""
    shutil.copytree(Path(packed, "shards"), root / "theirs")
    adopt(str(root), load_shardset(packed).classes, AdoptOptions(name="theirs"), 1, 0.0, lambda *_: None)
    return str(root)


def attempts(url: str, truncations: int, flips: int, seed: int) -> Iterator[Attempt]:
    """Damage the set at the local folder `url`, one file at a time; each is mended before the next."""
    rng, truth = random.Random(seed), dict(read_all(url))
    files = [path for path in sorted(Path(url).rglob("*")) if path.suffix in (".tar", ".idx", ".rst")]
    for kind in ["truncation"] * truncations + ["flip"] * flips:
        file = rng.choice(files)
        whole = file.read_bytes()
        at = rng.randrange(len(whole))
        if kind == "truncation":
            file.write_bytes(whole[:at])
        else:
            damaged = bytearray(whole)
            damaged[at] ^= 1 << rng.randrange(8)
            file.write_bytes(damaged)
        found = bool(verify(url, 1, lambda *_: None).faults)
        delivered = dict(read_all(url))
        file.write_bytes(whole)
        yield Attempt(
            kind=kind,
            file=file.relative_to(url).as_posix(),
            at=at,
            found=found,
            refused=len(truth) - len(delivered),
            wrong=sum(sample != truth[place] for place, sample in delivered.items()),
        )


def read_all(url: str) -> Iterator[tuple[tuple[str, int, int], tuple[bytes, int, bytes]]]:
    """(picture, label, its segments) of every sample that the reader delivers, by (split, shard, row)."""
    for name, split in load_shardset(url).splits.items():
        reader = Reader(url, split)
        for number, shard in enumerate(split.shards):
            for row in range(shard.samples):
                try:
                    sample = reader.read(number, row)
                    yield (name, number, row), (sample.image, sample.label, bytes(sample.lengths))
                except DataError:
                    continue


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All attempts on both sets."""
    drawn, packed = scratch / "drawn", str(scratch / "packed")
    synth(drawn, SynthOptions(classes=6, images=20, val_images=5, size=48), 2, lambda *_: None)
    options = PackOptions(name="drawn", samples_per_shard=32, restart_markers=available() or None)
    pack(drawn, packed, options, 2, 0.0, lambda *_: None)
    results = {}
    for seed, (name, url) in enumerate(
        [("packed", packed), ("adopted", adopted(packed, scratch / "adopted"))]
    ):
        made = list(attempts(url, TRUNCATIONS, FLIPS, seed))
        results[name] = {kind: count(made, kind) for kind in ("truncation", "flip")}
        results[name]["missed"] = [vars(one) for one in made if not one.found or one.wrong]
        say(f"{name}: {results[name]}")
    return {
        "settings": {"truncations": TRUNCATIONS, "flips": FLIPS, "images": 150, "shards": 5},
        "sets": results,
    }


def count(made: list[Attempt], kind: str) -> dict[str, int]:
    """Sums over the attempts of a kind."""
    mine = [one for one in made if one.kind == kind]
    return {
        "tried": len(mine),
        "found": sum(one.found for one in mine),
        "samples_refused": sum(one.refused for one in mine),
        "wrong_samples_delivered": sum(one.wrong for one in mine),
    }


def page(result: dict[str, Any]) -> str:
    """The table for RESULTS.md."""
    lines = [
        "## Damage: random cuts and flipped bits in shards and indexes",
        "",
        "| set | damage | tried | found by verify | wrong samples delivered by the reader |",
        "|---|---|---|---|---|",
    ]
    for name, kinds in result["sets"].items():
        for kind in ("truncation", "flip"):
            sums = kinds[kind]
            lines.append(
                f"| {name} | {kind} | {sums['tried']:,} | {sums['found']:,} | {sums['wrong_samples_delivered']:,} |"
            )
    return "\n".join(lines)
