"""Files of tensors by name: what torch.save writes, and safetensors. Nothing is ever unpickled but tensors.

.pt .pth .tar .bin    a state dict, or a dict that holds one under `model` (Microsoft) or `state_dict` (the CBAM
authors, timm), with or without DataParallel's `module.` before each name
.safetensors          a state dict
"""

import io
import pickle
import re
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from raytrain.errors import RunError, UsageError

INSIDE = ("model", "state_dict")
PARALLEL = "module."
SAFETENSORS = ".safetensors"


def read_tensors(raw: bytes, where: str) -> dict[str, Tensor]:
    """The tensors in a file's bytes by name, on the CPU, fractions as fp32; `where` is its name.

    Raises RunError where the bytes are cut short, damaged, or hold anything but tensors.
    """
    state = _safetensors(raw, where) if where.endswith(SAFETENSORS) else _inside(_torch(raw, where), where)
    if state and all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def write_tensors(state: dict[str, Tensor], where: str, inside: str | None, notes: dict[str, str]) -> bytes:
    """A file's bytes. torch's keep the state under `inside`, if any; safetensors have no inside, but `notes`."""
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    if where.endswith(SAFETENSORS):
        return safetensors.torch.save(state, metadata={"format": "pt", **notes})
    buffer = io.BytesIO()
    torch.save(state if inside is None else {inside: state}, buffer)
    return buffer.getvalue()


def _safetensors(raw: bytes, where: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(raw)
    except safetensors.SafetensorError as error:
        raise RunError(f"{where} is cut short, damaged, or no safetensors file: {error}") from None


def _torch(raw: bytes, where: str) -> Any:
    try:
        return torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\w+(?:\.\w+)*) w", str(error))
        if named is None:
            raise RunError(f"{where} is cut short, damaged, or no file that torch.save wrote") from None
        raise RunError(
            f"{where} asks for {named[1]}, which is no tensor: it was not loaded. Whoever trusts it can save its "
            "state dict alone, with torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # noqa: BLE001 -- for bytes that are not its own torch raises what it comes upon
        said = str(error).partition(". ")[0]
        reason = (
            f": {said}" if " " in said else ""
        )  # of text it says the number of a byte, of nothing at all nothing
        raise RunError(f"{where} is cut short, damaged, or no file that torch.save wrote{reason}") from None


def _inside(loaded: Any, where: str) -> dict[str, Tensor]:
    state = loaded
    if isinstance(loaded, dict):
        state = next((loaded[name] for name in INSIDE if isinstance(loaded.get(name), dict)), loaded)
    if not isinstance(state, dict) or not state:
        raise UsageError(
            f"{where} holds no state dict: a dict of tensors, alone or under {' or '.join(INSIDE)}"
        )
    others = [
        name for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if others:
        raise UsageError(
            f"{where} holds no state dict: {len(others)} of its {len(state)} entries are no tensors by name, "
            f"'{others[0]}' among them. It is looked for at the top, and under {' or '.join(INSIDE)}"
        )
    return state
