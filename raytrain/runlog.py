"""RunLog: what a run writes down while it goes on. JSON lines that survive a kill, and TensorBoard beside them."""

import errno
import io
import json
import math
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from data_shards.ledger import Row
from data_shards.store import open_store
from data_shards.store.local import space_for
from raytrain.errors import RunError
from raytrain.evaluation import Evaluation
from raytrain.plan import RunPlan

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PLAN = "plan.json"
JOB = "job.json"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
LAST_EVALUATION = "evaluation.json"
EVENTS = "events.jsonl"
LEDGER = "ledger.jsonl"
QUARANTINE = "quarantine.jsonl"
TRANSFER = "transfer.json"
NEWEST_STEPS = "newest_steps.jsonl"  # the last rows of metrics.jsonl, where that is written on another host
FIGURES = {"top1", "top5", "loss", "calibration_error"}  # of an Evaluation: what a row of EVALUATIONS holds
LONGEST_ROW = 1024  # bytes of a row of metrics.jsonl, amply
NEWEST = 200  # rows of NEWEST_STEPS


def utc_now() -> datetime:
    """The wall clock, for the log's reader; intervals use the monotonic clock."""
    return datetime.now(UTC)


def append(path: Path, row: dict[str, Any], *, durable: bool = False) -> None:
    """Add one JSON line in one write, so that lines of several processes never mix; all of it or nothing.

    A `durable` one is on the disk when this returns. Raises DataError where the disk is full.
    """
    line = json.dumps(row).encode() + b"\n"
    with space_for(path, len(line)), path.open("a+b", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        if before and _byte_before(file, before) != b"\n":
            line = b"\n" + line  # a crash cut the last line short: leave its stump alone
        if file.write(line) < len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, "No space left on device")
        if durable:
            os.fsync(file.fileno())


def event(run: Path, name: str, now: Callable[[], datetime] = utc_now, **fields: Any) -> None:
    """Add an event to the run's log."""
    append(run / EVENTS, {"time": now().isoformat(timespec="milliseconds"), "event": name, **fields})


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; those that a crash cut short are left out. Empty where there is none."""
    return _parsed(path.read_bytes()) if path.exists() else []


def last_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The last rows of a log that may be long: only its end is read."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count * LONGEST_ROW))
        return _parsed(file.read())[-count:]


def cut_after(path: Path, step: int) -> None:
    """Drop the rows after `step` from the end of a log whose steps ascend, and a line that a crash cut short there.

    The rest is not read: at 1,024 workers the logs of a long run hold 170 MB, half a minute's parsing.
    """
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
            end = log.rfind(b"\n") + 1
            while end:
                start = log.rfind(b"\n", 0, end - 1) + 1
                row = _parsed(log[start:end])
                if row and row[0]["step"] <= step:
                    break
                end = start
        file.truncate(end)
        os.fsync(file.fileno())


def newest_steps(run: Path, count: int) -> list[dict[str, Any]]:
    """The rows of the last steps, NEWEST at the most. Where rank 0 is elsewhere, of those that have come from there."""
    return last_rows(run / NEWEST_STEPS, count) or last_rows(run / METRICS, count)


def keep_newest_steps(run: Path) -> None:
    """Write the rows of the last steps into a file of their own, to be sent."""
    lines = "".join(json.dumps(row) + "\n" for row in last_rows(run / METRICS, NEWEST))
    open_store(str(run)).write(NEWEST_STEPS, lines.encode())


def _parsed(raw: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in raw.split(b"\n")[:-1]:
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def _byte_before(file: io.FileIO, end: int) -> bytes:
    file.seek(end - 1)
    return file.read(1)


def read_file(run: Path, name: str) -> bytes:
    """A file that every run has. Raises RunError where the folder is none of a run."""
    try:
        return (run / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"{run} holds no run: {name} is missing. Make one with `raytrain train RECIPE --data URL --out {run}`"
        ) from None


def read_plan(run: Path) -> RunPlan:
    """The plan of a run. Raises RunError where it is none, or one of another version."""
    try:
        return RunPlan.model_validate_json(read_file(run, PLAN))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunError(
            f"{run / PLAN} cannot be read: {where}: {first['msg'].lower()}. It is damaged or of another version "
            "of raytrain; put the plan back, use the version that wrote it, or another folder"
        ) from None


class RunLog:
    """Rank 0 writes; other ranks have a log with `run=None`, which says nothing.

    `start(step)` drops rows after the step that training goes on from: they will be made again, the same.
    """

    def __init__(self, run: Path | None, place: str = "") -> None:
        """`place` is where people find the run, if not in this folder."""
        self.run, self.place = run, place or str(run)
        self.board: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Go on after `step`."""
        if self.run is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        for name in (METRICS, EVALUATIONS, LEDGER, QUARANTINE):
            cut_after(self.run / name, step)
        last = self.run / LAST_EVALUATION
        if last.exists() and json.loads(last.read_text())["step"] > step:
            last.unlink()
        self.board = SummaryWriter(str(self.run / "tensorboard"), purge_step=step + 1)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What a log of this run holds."""
        return [] if self.run is None else read_rows(self.run / name)

    def step(self, **row: Any) -> None:
        """One optimizer step: the fields of a row in metrics.jsonl."""
        if self.run is None or self.board is None:
            return
        for name in {"loss", "grad_norm", "update_ratio"} & row.keys():
            if not math.isfinite(row[name]):  # NaN and Infinity are no JSON
                row[name] = None
        append(self.run / METRICS, row)
        if row["loss"] is not None:
            self.board.add_scalar("train/loss", row["loss"], row["step"])
        if row.get("update_ratio") is not None:
            self.board.add_scalar("train/update_ratio", row["update_ratio"], row["step"])
        self.board.add_scalar("train/lr", row["lr"], row["step"])
        self.board.add_scalar("train/images_per_second", row["images"] / row["seconds"], row["step"])

    def evaluation(
        self,
        step: int,
        epoch: float,
        samples: int,
        evaluation: Evaluation,
        seconds: float,
        ema: Evaluation | None = None,
        train: Evaluation | None = None,
    ) -> None:
        """One evaluation: a row of its figures, with those of the weights' average and on the slice of training
        images, and the last one in full.
        """
        if self.run is None or self.board is None:
            return
        figures = evaluation.model_dump(include=FIGURES)
        row = {"step": step, "epoch": epoch, "samples": samples, **figures, "seconds": seconds}
        for beside, found in (("ema", ema), ("train", train)):
            if found is not None:
                row[beside] = found.model_dump(include=FIGURES)
        append(self.run / EVALUATIONS, row)
        whole = {"step": step, "evaluation": evaluation.model_dump(mode="json")}
        open_store(str(self.run)).write(LAST_EVALUATION, json.dumps(whole).encode())
        for name, value in figures.items():
            self.board.add_scalar(f"eval/{name}", value, step)
        for beside in ("ema", "train"):
            for name, value in row.get(beside, {}).items():
                self.board.add_scalar(f"eval/{beside}_{name}", value, step)

    def ledger(self, row: Row) -> None:
        """A row of the ledger. Durable, for the checkpoint that comes next witnesses it."""
        if self.run is not None:
            append(self.run / LEDGER, row.model_dump(mode="json"), durable=True)

    def quarantine(self, **row: Any) -> None:
        """An image that no decoder reads, met for the first time."""
        if self.run is not None:
            append(self.run / QUARANTINE, row)

    def transfer(self, lines: list[str]) -> None:
        """The account of what a fine-tune carried over from its checkpoint."""
        if self.run is not None:
            open_store(str(self.run)).write(TRANSFER, json.dumps({"lines": lines}).encode())

    def event(self, name: str, **fields: Any) -> None:
        """An event of this run."""
        if self.run is not None:
            event(self.run, name, **fields)

    def close(self) -> None:
        """Flush TensorBoard."""
        if self.board is not None:
            self.board.close()


def pid_file(run: Path, rank: int) -> Path:
    """Where a worker says which process it is, for whoever wants to look at it with a debugger, or kill it."""
    return run / "workers" / f"rank-{rank}.json"


def say_who(run: Path, rank: int) -> None:
    """Write this worker's host and process id."""
    file = pid_file(run, rank)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"host": os.uname().nodename, "pid": os.getpid()}))
