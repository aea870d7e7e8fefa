"""Audit of a run: its ledger and its checkpoints against the order that its plan and its data stand for.

What a sample's being delivered once means, and how it is proven, is `data_shards/audit.py`. Here are the files.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from data_shards.audit import Audit, Claim, Finding, audit
from data_shards.ledger import Row
from data_shards.mix import load_data, to_train
from data_shards.mixed import order_of
from data_shards.reader import read_key
from data_shards.store import open_store
from data_shards.training import Training
from raytrain.errors import RunError
from raytrain.manifest import MANIFEST, Manifest, complete_steps, key_of, read_verified, verify
from raytrain.plan import RunPlan
from raytrain.runlog import JOB, LEDGER, read_file, read_plan
from raytrain.state import TrainState


def audit_run(run: Path, on_row: Callable[[int, int], None], checkpoints: str = "") -> tuple[Audit, Training]:
    """What the run's ledger proves, and the samples it is about; `on_row(rows, of)` is told of each row.

    `checkpoints` is where its checkpoints are, if not in the folder.

    Raises RunError where there is no run or no ledger, a row is no row, or the data is another set by now.
    """
    plan, url = read_plan(run), json.loads(read_file(run, JOB))["data_url"]
    data = load_data(url)
    if data.fingerprint != plan.data.fingerprint:
        raise RunError(
            f"the data at {url} is another set now: fingerprint {data.fingerprint[:12]}, the run's was "
            f"{plan.data.fingerprint[:12]}: nothing can be proven with it"
        )
    training = to_train(url, data, plan.recipe.train_split, plan.recipe.train_fraction)
    rows = read_ledger(run, plan)
    claims = _claims(checkpoints or str(run), max((row.step for row in rows), default=0))
    names = [part.name if training.mixed else "" for part in training.parts]
    found = audit(rows, order_of(training, plan.recipe.seed), claims, on_row, names)
    named = tuple(_with_keys(finding, training) for finding in found.findings)
    return found.model_copy(update={"findings": named}), training


def read_ledger(run: Path, plan: RunPlan) -> list[Row]:
    """The rows. A line that a kill cut off at the end is none; RunError names any other that is no row."""
    if not (run / LEDGER).exists():
        raise RunError(
            f"{run} has no {LEDGER}: it was trained before there was one, or has not come to its first step"
        )
    lines, rows = (run / LEDGER).read_bytes().split(b"\n")[:-1], []
    most = plan.lengths.steps * plan.recipe.global_batch
    for number, line in enumerate(lines, 1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise RunError(f"{run / LEDGER}, line {number}, is damaged: {problem}") from None
        ends = [
            first + length + stride * (times - 1) + period * (repeats - 1)
            for part in row.ranks
            for first, length, stride, times, period, repeats in part.slots
        ]
        if max(ends, default=0) > most:
            raise RunError(
                f"{run / LEDGER}, line {number}, is damaged: it goes to slot {max(ends)}, the plan to {most}"
            )
        rows.append(row)
    return rows


def _claims(run: str, last: int) -> Iterator[Claim]:
    """What the checkpoints say, of those whose state is as it was saved.

    One behind the ledger's last step has to be whole: else a run that went on from an earlier one lies beside it.
    """
    store = open_store(run)
    for step in complete_steps(store):
        try:
            if step > last:
                verify(f"{run}/{key_of(step)}")
            manifest = Manifest.model_validate_json(store.read(f"{key_of(step)}/{MANIFEST}"))
            raw = read_verified(store, f"{key_of(step)}/state.json", manifest.files["state.json"])
            state = TrainState.model_validate(json.loads(raw)["state"])
        except (ValidationError, RunError):
            continue
        yield Claim(step, state.samples_seen, state.delivered)


def _with_keys(finding: Finding, training: Training) -> Finding:
    named = tuple(
        sample.model_copy(update={"key": _key(training, sample.shard, sample.row)})
        for sample in finding.named
    )
    return finding.model_copy(update={"named": named})


def _key(training: Training, shard: int, row: int) -> str:
    number, own = training.place(shard)
    part = training.parts[number]
    return training.prefix(shard) + read_key(part.url, part.chosen, own, row)


def audit_text(found: Audit, training: Training) -> str:
    """The audit for people: a line per epoch, of a mix per set and epoch of its own, then what is wrong."""
    workers = ", then ".join(map(str, found.workers)) or "none"
    lines = [f"{found.samples:,} samples, {len(found.epochs)} epochs begun; workers: {workers}"]
    columns = ("epoch", "index", "delivered", "quarantined", "missing", "doubled", "unproven")
    lines.append("".join(f"{column:>13}" for column in columns))
    for epoch in found.epochs:
        numbers = "".join(f"{getattr(epoch, column):>13,}" for column in columns)
        of = f"  of {epoch.set}" if epoch.set else ""
        lines.append(numbers + of + ("  not finished: judged so far as it went" if epoch.partial else ""))
    for finding in found.findings:
        lines.append(f"{finding.kind}: {finding.samples:,} samples: {finding.why}")
        lines += [
            f"    epoch {sample.epoch}, slot {sample.slot}: {training.shard_name(sample.shard)} row {sample.row}, "
            f"key {sample.key}"
            for sample in finding.named
        ]
        if finding.samples > len(finding.named):
            lines.append(f"    and {finding.samples - len(finding.named):,} more")
    lines += [f"fault: {fault}" for fault in found.faults]
    proof = "each sample once: delivered + quarantined = index, and every digest is the order's"
    lines.append(proof if found.proven else "NOT proven")
    return "\n".join(lines)
