"""The demo: the product's main job in small, on this machine, start to end.

Made-up photographs (or the user's own ImageFolder) are packed and verified; a tiny ResNeXt + CBAM is pretrained on
the wide label space by two Ray workers, fine-tuned on the narrow one at a larger size, and trained there from
scratch with the same budget; all three are evaluated and told in one report.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.connect import connected
from data_shards import cli as data
from data_shards import cli_pack, cli_verify
from data_shards.shardset import Choices
from data_shards.sources import Inputs, read_source
from raytrain.cli.options import make_plan
from raytrain.driver import environment
from raytrain.errors import UsageError
from raytrain.plan import RunPlan
from raytrain.report import build_report, markdown, write_report
from raytrain.session import run_shown

WORKERS = 2
PRETRAIN, FINETUNE, SCRATCH = (
    "smoke_resnext_cbam_22k",
    "smoke_resnext_cbam_1k",
    "smoke_resnext_cbam_1k_scratch",
)


def demo(out: Path, source: Path | None, seed: int) -> Path:
    """Tell the story under `out`; returns the report's path. The same call again goes on where it was."""
    began = time.monotonic()
    out = out / (own_name(source) if source else "synthetic")  # none goes on with another's images or runs
    wide, narrow = own_images(source, out) if source else made_up_images(out)
    wide_set, narrow_set = str(out / "shards/wide"), str(out / "shards/narrow")
    with chapter("pack and verify: tar shards with an index, digests, and a manifest written last"):
        for images, shards in ((wide, wide_set), (narrow, narrow_set)):
            tell(f"raytrain data pack {images} --out {shards}")
            cli_pack.pack([images], shards)
            tell(f"raytrain data verify {shards}")
            cli_verify.verify(shards)
    settings = [f"seed={seed}"]
    pretrain = plan_of(PRETRAIN, wide_set, settings)
    with connected(None, environment(pretrain)):
        runs = [out / "runs" / name for name in ("pretrain", "finetune", "scratch")]
        train(pretrain, wide_set, runs[0])
        train(plan_of(FINETUNE, narrow_set, settings, init=runs[0]), narrow_set, runs[1])
        train(plan_of(SCRATCH, narrow_set, settings), narrow_set, runs[2])
    reports = [build_report(str(run.absolute())) for run in runs]
    page = write_report(reports, out)
    print(f"\n== what happened, in {(time.monotonic() - began) / 60:.1f} minutes ==")
    print(markdown(reports))
    print(f"\nreport: {page}")
    return page


def made_up_images(out: Path) -> tuple[Path, Path]:
    """Two sets of procedural photographs whose label spaces share half of the narrow one's classes."""
    wide, narrow = out / "images/wide", out / "images/narrow"
    with chapter("make images: 48 classes to pretrain on, 16 to fine-tune on, 8 of them in both"):
        tell(f"raytrain data synth {wide} --space 22k --images 150")
        data.synth(wide, images=150)
        tell(f"raytrain data synth {narrow} --space 1k --images 40 --val-images 60")
        data.synth(narrow, space="1k", images=40, val_images=60)
    return wide, narrow


def own_name(source: Path) -> str:
    """A folder name for the story of one source: its own, and a digest of its path."""
    return f"{source.absolute().name}-{hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]}"


def own_images(source: Path, out: Path) -> tuple[Path, Path]:
    """The user's classes as links: three of four to pretrain on, every second one to fine-tune on."""
    classes = read_source(Inputs(paths=(source,)), Choices(), lambda *_: None).classes
    if len(classes) < 4:
        raise UsageError(
            f"--source {source} has {len(classes)} classes; the demo needs at least 4 to split them"
        )
    parts = [source / "train", source / "val"] if (source / "train").is_dir() else [source]
    chosen = {
        "wide": [name for place, name in enumerate(classes) if place % 4 != 3],
        "narrow": [name for place, name in enumerate(classes) if place % 2],
    }
    for kind, names in chosen.items():
        for part in parts:
            folder = out / "images" / kind / (part.name if len(parts) > 1 else "")
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                link = folder / name
                if not link.is_symlink() and (part / name).is_dir():
                    link.symlink_to((part / name).absolute())
    return out / "images/wide", out / "images/narrow"


def plan_of(recipe: str, shards: str, settings: list[str], init: Path | None = None) -> RunPlan:
    """A plan for two workers of this machine."""
    return make_plan(
        recipe,
        shards,
        fleet="local",
        workers=WORKERS,
        settings=settings,
        init=str(init.absolute()) if init else None,
        engine="deepspeed",
    )


def train(plan: RunPlan, shards: str, run: Path) -> None:
    """Print the plan and the command it stands for, and run it."""
    with chapter(plan.recipe.summary):
        start = " --init RUN" if plan.init else ""
        tell(f"raytrain train {plan.recipe.name} --data {shards} --out {run} --workers {WORKERS}{start}")
        run_shown(plan, data=shards, out=run, address=None)


@contextmanager
def chapter(title: str) -> Iterator[None]:
    """A part of the story, with its time."""
    print(f"\n== {title} ==", flush=True)
    began = time.monotonic()
    yield
    print(f"   ({time.monotonic() - began:.0f} s)", flush=True)


def tell(command: str) -> None:
    """The command a user would type for what comes next."""
    print(f"$ {command}", flush=True)
