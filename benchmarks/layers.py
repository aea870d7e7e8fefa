"""What each layer costs a step: a bare torch loop, raytrain's loop around it, DeepSpeed's engine, Ray Train.

Each layer has a process of its own, and all wait while one takes its turn.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Literal

from conditions import spread, table, tell
from layer import Asked, serve
from sets import make_set

from data_shards.synth import SynthOptions

if TYPE_CHECKING:
    from raytrain.plan import RunPlan

Engine = Literal["torch", "deepspeed"]
LAYERS = ("bare torch", "+ raytrain's loop", "+ DeepSpeed", "+ Ray Train")
"""Each has all that those before it have. The third is `raytrain train` without Ray, the fourth with it."""

ENGINES: dict[str, Engine] = {
    "+ raytrain's loop": "torch",
    "+ DeepSpeed": "deepspeed",
    "+ Ray Train": "deepspeed",
}
ROUNDS, STEPS, WARM_UP = 40, 2, 4
CPU = ("cbam_resnext50_1k_2018", ["view.image_size=64", "precision=fp32", "global_batch=8"])
GPU = ("swin_b_22k_224", ["global_batch=256"])
SIDES = {"cpu": 64, "cuda": 224}

Turns = list[dict[str, float]]
"""Seconds of a layer's turns, by clock."""


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of a step by layer, in turn, and the ratios to the bare loop's of the same round."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name, settings = GPU if device == "cuda" else CPU
    shards = make_set(scratch, SynthOptions(classes=8, images=16, val_images=2, size=SIDES[device]))
    asked = {
        layer: Asked(
            plan=plan_of(name, settings, shards, device, ENGINES.get(layer, "torch")),
            shards=shards,
            run=str(scratch / f"run{number}"),
            loop=layer in ENGINES,
        )
        for number, layer in enumerate(LAYERS)
    }
    steps = STEPS if device == "cpu" else 2 * STEPS
    with Listener(None, "AF_UNIX", authkey=b"layers") as listener:
        layers = {layer: begin(layer, asked[layer], listener, say) for layer in LAYERS}
        raw = take_turns(layers, steps, say)
    return {
        "settings": {
            "recipe": name, "set": settings, "rounds": ROUNDS, "steps": steps,
            "device": torch.cuda.get_device_name() if device == "cuda" else device,
        },
        "raw": raw,
        "medians": summaries(raw, steps),
    }  # fmt: skip


def plan_of(name: str, settings: list[str], shards: str, device: str, engine: Engine) -> "RunPlan":
    """The recipe's plan on one worker. It never ends, and its micro-batch leaves room for the other layers."""
    from cluster.fleet import Fleet
    from data_shards.mix import load_data
    from raytrain.plan import resolve
    from raytrain.recipes import recipe
    from raytrain.settings import change, parse

    fleet = Fleet(name="one device", gpu=device == "cuda", memory_gib=30)
    wanted = change(recipe(name), parse([*settings, "epochs=10000"]))
    return resolve(wanted, fleet, load_data(shards), engine=engine)


def begin(layer: str, asked: Asked, listener: Listener, say: Callable[[str], None]) -> Connection:
    """Start the layer's process, and let it take its first steps."""
    target = under_ray if layer == "+ Ray Train" else alone
    threading.Thread(target=target, args=(listener.address, asked), daemon=True).start()
    layer_is_there: Connection = listener.accept()
    layer_is_there.send(WARM_UP)
    layer_is_there.recv()
    say(f"{layer} is ready")
    return layer_is_there


def alone(address: str, asked: Asked) -> None:
    """A process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(serve, address, asked, False).result()


def under_ray(address: str, asked: Asked) -> None:
    """A worker of Ray Train's, on a local cluster, as the driver asks for one."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from cluster.connect import connected
    from raytrain.driver import environment

    gpu = asked.plan.placement.gpu
    with connected(None, environment(asked.plan)):
        TorchTrainer(
            lambda config: serve(config["address"], config["asked"], True),
            train_loop_config={"address": address, "asked": asked},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=1, use_gpu=gpu),
            run_config=RunConfig(storage_path=asked.run),
        ).fit()


def take_turns(layers: dict[str, Connection], steps: int, say: Callable[[str], None]) -> dict[str, Turns]:
    """Seconds of each layer's turns of so many steps, on the wall and of its CPU; the order alternates."""
    raw: dict[str, Turns] = {layer: [] for layer in layers}
    for turn in range(ROUNDS):
        for layer in list(layers)[:: -1 if turn % 2 else 1]:
            layers[layer].send(steps)
            raw[layer].append(layers[layer].recv())
        say(f"round {turn + 1} of {ROUNDS}")
    for connection in layers.values():
        connection.send(0)
        connection.recv()
    return raw


def summaries(raw: dict[str, Turns], steps: int) -> dict[str, dict[str, Any]]:
    """By layer; the first is its own base."""
    return {
        layer: summary(raw[layer], raw[LAYERS[0]], raw[above], steps)
        for above, layer in zip((LAYERS[0], *LAYERS), LAYERS, strict=False)
    }


def summary(turns: Turns, bare: Turns, above: Turns, steps: int) -> dict[str, Any]:
    """A step's seconds, and what it takes more than the bare loop's and the layer's above it, as a share."""
    return {
        "step": {clock: spread([turn[clock] / steps for turn in turns]) for clock in ("wall", "cpu")},
        "over_bare": {clock: more(turns, bare, clock) for clock in ("wall", "cpu")},
        "over_above": {clock: more(turns, above, clock) for clock in ("wall", "cpu")},
    }


def more(turns: Turns, base: Turns, clock: str) -> dict[str, float]:
    """The geometric mean of the ratios, turn by turn, less one, and its standard error."""
    logs = [math.log(turn[clock] / its[clock]) for turn, its in zip(turns, base, strict=True)]
    return {"mean": math.exp(mean(logs)) - 1, "error": stdev(logs) / math.sqrt(len(logs))}


def page(result: dict[str, Any]) -> str:
    """A row per layer."""
    settings, medians = result["settings"], result["medians"]

    def share(told: dict[str, float]) -> str:
        return f"{told['mean']:+.1%} ± {told['error']:.1%}" if told["error"] else ""

    rows = [
        [layer, tell(row["step"]["wall"], 3)]
        + [share(row[over][clock]) for clock in ("wall", "cpu") for over in ("over_bare", "over_above")]
        for layer, row in medians.items()
    ]
    header = [
        "layers",
        "a step, s",
        "over bare torch",
        "over the row above",
        "CPU: over bare torch",
        "over the row above",
    ]
    return f"""## What each layer adds to a step, on {"a CPU" if settings["device"] == "cpu" else settings["device"]}

{table(header, rows)}

How: {settings["recipe"]} with {", ".join(settings["set"])}, one worker, images that lie in memory as they come from the
loader. Each row has all of those above it; the bare loop has the recipe's mixing and erasing, forward, backward,
clipping, learning rate and update, and reads the loss. raytrain's loop adds its checks, the ledger, the log, the
size of every tenth update and the watch over a step that hangs; DeepSpeed is at ZeRO 0, which the plan chooses; Ray
Train holds the worker as `raytrain train` lets it. All wait while one takes its turn of {settings["steps"]} steps;
{settings["rounds"]} rounds, the order alternates. Seconds: medians (lowest to highest). Shares: the geometric mean of
the ratios, round by round, ± its standard error.

Not shown: the loader (it has a table of its own), several workers, whose gradients meet over a network. What passes
over the weights takes the larger share the smaller the batch: 8 images of 64 px are two thirds of one of 224."""
