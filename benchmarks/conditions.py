"""The conditions of a measurement, and how repeats are told. No path and no host name: results are published."""

import os
import platform
import statistics
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "ray", "deepspeed", "webdataset", "pillow", "numpy")
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Linux's names for the x86 instructions that multiply bf16; without either it is computed by way of fp32."""


def conditions(command: str) -> dict[str, Any]:
    """The machine, its load before the measurement, and the versions of what is measured."""
    cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in cpu.items()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": command,
        "cpu": facts["model name"],
        "bf16_instructions": [flag for flag in BF16_FLAGS if flag in facts["flags"].split()],
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": os.getloadavg(),
        "versions": {"python": platform.python_version(), **installed()},
    }


def installed() -> dict[str, str]:
    """Versions of those that are there: a benchmark may run on a machine that has not all."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def conditions_line(result: dict[str, Any]) -> str:
    """The conditions, in small print."""
    told = result["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    bf16 = ", ".join(told["bf16_instructions"]) or "none"
    loads = ", ".join(  # the first results were measured without the one after
        " / ".join(f"{average:.1f}" for average in told[key]) + f" {when}"
        for when in ("before", "after")
        if (key := f"load_average_{when}") in told
    )
    return (
        f"<sub>`{told['command']}`, {told['date']}, measured in {result['seconds_to_measure']:.0f} s. "
        f"{told['cores']} cores, {told['cpu']}, bf16 instructions: {bf16}. "
        f"Load average over 1 / 5 / 15 minutes: {loads}. {versions}.</sub>"
    )


def spread(repeats: list[float]) -> dict[str, float]:
    """The median of the repeats, the lowest and the highest."""
    return {"median": statistics.median(repeats), "lowest": min(repeats), "highest": max(repeats)}


def tell(numbers: dict[str, float], digits: int = 2) -> str:
    """A spread as `median (lowest to highest)`."""
    median, lowest, highest = (f"{numbers[key]:.{digits}f}" for key in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
