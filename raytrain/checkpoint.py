"""Checkpoints that can be trusted: whole or absent, verified before a byte is loaded, nothing unpickled.

    <run>/checkpoints/step-00001234/model.pt       fp32 weights and buffers by name
                                    moments.pt     optimizer state by parameter name, whole tensors
                                    ema.pt         the weights' average, where the recipe has one
                                    state.json     TrainState and the count of applied steps
                                    card.json      recipe and class list: enough to evaluate and fine-tune
                                    MANIFEST.json  written last: size and sha256 of every file, step, world, plan

Here are the tensors; `manifest.py` finds and verifies.
"""

import hashlib
import io
import json
import pickle
from typing import Any

import torch

from data_shards.store import Store, open_store
from raytrain.engine import EngineState
from raytrain.errors import RunError
from raytrain.manifest import (
    MANIFEST,
    Card,
    Checkpoint,
    FileDigest,
    Manifest,
    check_average,
    complete_steps,
    key_of,
    read_verified,
    started_steps,
    verify,
)
from raytrain.plan import RunPlan
from raytrain.state import TrainState


def save(
    store: Store,
    plan: RunPlan,
    classes: tuple[str, ...],
    state: TrainState,
    engine: EngineState,
    world: int,
) -> None:
    """Write a checkpoint of `state.step`, manifest last. Raises DataError when the store cannot take it."""
    contents = {
        "model.pt": _to_bytes(engine.model),
        "moments.pt": _to_bytes(engine.moments),
        "state.json": json.dumps({"state": state.model_dump(), "applied": engine.applied}).encode(),
        "card.json": Card(recipe=plan.recipe, classes=classes).model_dump_json().encode(),
    }
    if engine.ema is not None:
        contents["ema.pt"] = _to_bytes(engine.ema)
    where = key_of(state.step)
    for name, raw in contents.items():
        store.write(f"{where}/{name}", raw)
    digests = {
        name: FileDigest(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
        for name, raw in contents.items()
    }
    manifest = Manifest(step=state.step, world=world, plan=plan.hash, files=digests)
    store.write(f"{where}/{MANIFEST}", manifest.sealed().model_dump_json().encode())


def load_model(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights and buffers by name, on the CPU. Raises RunError where a byte changed since it was verified."""
    weights: dict[str, torch.Tensor] = _load(checkpoint, "model.pt")
    return weights


def load_ema(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights' average, like `load_model`. Raises UsageError where the run made none."""
    check_average(checkpoint)
    average: dict[str, torch.Tensor] = _load(checkpoint, "ema.pt")
    return average


def load_engine(checkpoint: Checkpoint) -> tuple[TrainState, EngineState]:
    """Everything a run needs to go on."""
    raw = json.loads(_read(checkpoint, "state.json"))
    engine = EngineState(
        model=load_model(checkpoint),
        moments=_load(checkpoint, "moments.pt"),
        applied=raw["applied"],
        ema=load_ema(checkpoint) if "ema.pt" in checkpoint.manifest.files else None,
    )
    return TrainState.model_validate(raw["state"]), engine


def prune(store: Store, step: int, keep: int, best: int) -> None:
    """Delete all but `step`, which has just been saved, the `keep` - 1 finished ones before it, and the best one.

    Nothing is deleted before `step` was read back: RunError where it is not what was saved. So whatever else is
    damaged, one whole checkpoint is left. What lies after `step` is damaged, as the run had to go on from before it,
    and will be made again: it is no reason to delete anything. What a killed save or prune left goes too, drafts and
    uploads of any step: no other save is under way. Each manifest goes first.
    """
    verify(f"{store.url}/{key_of(step)}")
    kept = {*[done for done in complete_steps(store) if done <= step][-keep:], best}
    for old in started_steps(store):
        if old in kept or old > step:
            continue
        store.delete(f"{key_of(old)}/{MANIFEST}")
        for key in store.list(f"{key_of(old)}/"):
            store.delete(key)
    for write in store.unfinished("checkpoints/"):
        store.abort(write)


def _to_bytes(tensors: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _load(checkpoint: Checkpoint, name: str) -> Any:
    try:
        return torch.load(io.BytesIO(_read(checkpoint, name)), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise RunError(f"{checkpoint.url}/{name} holds more than tensors: it was not loaded") from None


def _read(checkpoint: Checkpoint, name: str) -> bytes:
    return read_verified(open_store(checkpoint.url), name, checkpoint.manifest.files[name])
