"""A training step beside torchvision's and timm's networks, eager and compiled: images per second, MFU, peak memory.

    python benchmarks/step.py --out FILE.json      on one GPU, under 8 minutes; on a CPU small, under 7

Needs torch, torchvision, timm and pydantic (`pip install pydantic`), nothing else of raytrain's; raytrain need not be
installed. DeepSpeed takes part where it can be imported. What is not there, or has no time left, is left out, and said.

Each network has a process of its own. On a GPU they all prepare at once, for compiling is the cores' work, and are
measured one after another; on a CPU one prepares after the other is measured. A network's contenders share its process,
and so memory that is free between turns.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conditions import conditions, conditions_line, spread, table, tell
from contenders.child import WARM_UP
from contenders.contender import BASE, NETWORKS, Case
from contenders.parent import PREPARING, Child, Say, compare_group
from environments import NotInstalledError, interpreter

HERE = Path(__file__).parent
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
}
"""Modules and the packages that have them."""

GPU_NETWORKS = ("swin_t", "swin_b", "resnext101_32x4d", "resnext101_32x4d_cbam")
GPU_BATCH = 64
SECONDS = {"cuda": 440.0, "cpu": 400.0}
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H200": 989.4,
}
"""Dense bf16 TFLOP/s by torch's name of the device, whole cards only: NVIDIA's data sheets of A100, H100 and H200,
which print the last two's doubled, with sparsity."""


def measure(scratch: Path, say: Say) -> dict[str, Any]:
    """On a CPU, small. timm's environment is made where it is not installed."""
    try:
        python = interpreter("timm")
    except NotInstalledError as problem:
        say(f"timm: {problem}")
        python = Path(sys.executable)
    return compare(cpu_cases(), python, SECONDS["cpu"], None, scratch, say)


def cpu_cases() -> list[Case]:
    """A compiler takes minutes for a deep network's C++, so that only a shallow one at a small size is compiled."""
    return [
        Case("swin_t", batch=2, side=224, device="cpu", rounds=7, settle=0, steps=1, compiled=False),
        Case("resnext50_32x4d", batch=4, side=128, device="cpu", rounds=7, settle=0, steps=1, compiled=False),
        Case("resnet18", batch=8, side=64, device="cpu", rounds=7, settle=0, steps=2, compiled=True),
    ]


def gpu_cases(networks: tuple[str, ...], batch: int) -> list[Case]:
    """At full size."""
    return [
        Case(name, batch=batch, side=224, device="cuda", rounds=7, settle=1, steps=10, compiled=True)
        for name in networks
    ]


def compare(
    cases: list[Case], python: Path, seconds: float, peak_tflops: float | None, scratch: Path, say: Say
) -> dict[str, Any]:
    """All networks in `seconds`. `peak_tflops` is the device's where PEAKS does not know it."""
    end, children = time.monotonic() + seconds, list[Child]()
    groups = [cases] if cases[0].device == "cuda" else [[case] for case in cases]
    for number, group in enumerate(groups):
        share = (end - time.monotonic()) / (len(groups) - number)
        children += compare_group(group, python, share, scratch, say)
    device = next((child.device for child in children if child.device), cases[0].device)
    peak = peak_tflops or PEAKS.get(device)
    return {
        "settings": {
            "device": device, "peak_tflops": peak, "seconds": seconds, "preparing_share": PREPARING,
            "zero_stage": 0,
            "timm": next((child.timm for child in children if child.timm), None),
            "cases": {case.network: case._asdict() for case in cases},
        },
        "raw": {child.case.network: child.rows for child in children},
        "out": {child.case.network: child.out for child in children},
        "medians": {child.case.network: summary(child.case, child.rows, peak) for child in children},
    }  # fmt: skip


def summary(case: Case, rows: dict[str, dict[str, Any]], peak: float | None) -> dict[str, dict[str, Any]]:
    """By contender: images per second, also over BASE's round by round; TFLOP/s of 3 forward passes, their MFU."""
    from raytrain.models.arithmetic import forward_macs
    from raytrain.models.named import named

    flops = 3 * 2 * forward_macs(named(case.network), 1000, case.side)
    told = {}
    for title, row in rows.items():
        images = spread([case.batch / seconds for seconds in row["seconds"]])
        tflops = flops * images["median"] / 1e12
        told[title] = {
            "images_per_second": images,
            "tflops": tflops,
            "mfu": tflops / peak if peak else None,
            "peak_gib": row["peak_bytes"] / 2**30 if row["peak_bytes"] is not None else None,
            "warm_up_seconds": row["warm_up_seconds"],
        }
        if BASE in rows:
            pairs = zip(rows[BASE]["seconds"], row["seconds"], strict=True)
            told[title]["over_base"] = spread([base / its for base, its in pairs])
    return told


def page(result: dict[str, Any]) -> str:
    """A table per network, and who is not in it."""
    settings = result["settings"]
    gpu = settings["device"] != "cpu"
    parts = [f"## A training step on {settings['device'] if gpu else 'a CPU, small'}"]
    for network, medians in result["medians"].items():
        case = settings["cases"][network]
        rounds = max([0, *(len(row["seconds"]) for row in result["raw"][network].values())])
        parts.append(f"**{network}**, {case['batch']} images of {case['side']} px, {rounds} rounds:")
        parts.append(network_table(medians, gpu))
        whys: dict[str, list[str]] = {}
        for title, why in result["out"][network].items():
            whys.setdefault(why, []).append(title)
        parts += [f"Left out: {'; '.join(titles)} ({why})." for why, titles in whys.items()]
    return "\n\n".join([*parts, how(settings), (ON_GPU if gpu else ON_CPU).format(peak=peak_of(settings))])


def peak_of(settings: dict[str, Any]) -> str:
    """The device's, or that nobody knows it."""
    return f"{settings['peak_tflops']:g} TFLOP/s" if settings["peak_tflops"] else "not known for this device"


def how(settings: dict[str, Any]) -> str:
    """What was done, in words."""
    rounds = max(case["rounds"] for case in settings["cases"].values())
    stage = settings.get("zero_stage", 1)  # what was measured before plans chose it
    return f"""How: a step is forward, soft cross-entropy, backward, clipping where the recipe clips, and the update, in
bf16 autocast and channels last, on one batch that lies on the device. raytrain's has all that its loop does but for
data and logs, with its plain engine or DeepSpeed's (ZeRO {stage}); torchvision's and timm's networks are in a
bare loop as their own trainers write it ([`peers.py`](contenders/peers.py)), with the same optimizer (ours fused). In
a round, of which there are {rounds} or, where time ends, fewer, each contender takes a turn of some steps; the order
alternates, and ratios are taken round by round, medians (lowest to highest). First steps: building and {WARM_UP} steps,
with them compiling, which are not in the speed. timm {settings["timm"]}."""


ON_GPU = """MFU: 3 x the forward pass's multiply-adds x 2, over the peak in dense bf16 ({peak}). Peak memory: what
torch allocates for the contender's own tensors in one step, without what the others hold."""
ON_CPU = """One thread, and its CPU seconds: the wall's are the neighbours' too. Not shown: GPUs (they have a
table of their own), and so MFU and peak memory. A CPU tells what an engine adds to a step, and nothing of what a GPU
would gain."""


def network_table(medians: dict[str, dict[str, Any]], gpu: bool) -> str:
    """Speed and, of a GPU, MFU and memory."""
    header = ["contender", f"images per {'' if gpu else 'CPU '}second", f"over {BASE}", "first steps, s"]
    rows = [
        [title, tell(row["images_per_second"], 1), tell(row["over_base"]) if "over_base" in row else "",
         f"{row['warm_up_seconds']:.0f}"]
        for title, row in medians.items()
    ]  # fmt: skip
    if gpu:
        header += ["MFU", "peak memory, GiB"]
        for cells, row in zip(rows, medians.values(), strict=True):
            cells += [f"{row['mfu']:.1%}" if row["mfu"] else "", f"{row['peak_gib']:.1f}"]
    return table(header, rows)


def fleet_lines(result: dict[str, Any]) -> list[str]:
    """Per network, raytrain's fastest as a line of a fleet file."""
    lines = []
    for network, medians in result["medians"].items():
        ours = {title: row["tflops"] for title, row in medians.items() if title.startswith(BASE)}
        if ours:
            best = max(ours, key=ours.__getitem__)
            lines.append(f"sustained_tflops: {ours[best]:.3g}  # {network}: {best}")
    return lines


def main() -> None:
    """Compare on this machine with what this interpreter has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", choices=list(NETWORKS), default=list(GPU_NETWORKS), help="on a GPU"
    )
    parser.add_argument("--batch", type=int, default=GPU_BATCH, help="images of a step on a GPU (even)")
    parser.add_argument("--seconds", type=float, help="for all of it; default 440 on a GPU")
    parser.add_argument("--peak-tflops", type=float, help="of a GPU that is not known: dense bf16, for MFU")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    asked = parser.parse_args()
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise SystemExit(f"benchmarks/step.py needs {', '.join(missing)}: pip install {' '.join(missing)}")
    import torch

    sys.path.append(str(HERE.parent))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = gpu_cases(tuple(asked.models), asked.batch) if device == "cuda" else cpu_cases()
    began, before = time.monotonic(), conditions(" ".join(["python", *sys.argv]))
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as scratch:
        measured = compare(
            cases, Path(sys.executable), asked.seconds or SECONDS[device], asked.peak_tflops, Path(scratch),
            lambda line: print(line, flush=True),
        )  # fmt: skip
    after = {"load_average_after": os.getloadavg()}
    seconds = round(time.monotonic() - began, 1)
    result = {"name": "step", "conditions": before | after, "seconds_to_measure": seconds, **measured}
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{page(result)}\n\n{conditions_line(result)}\n")
    if device == "cuda":
        print("For a fleet file:", *fleet_lines(result), sep="\n")


if __name__ == "__main__":
    main()
