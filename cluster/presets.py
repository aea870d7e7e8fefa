"""The fields of fleets that need no file: this machine, and common GPU machines.

Memory of a worker is what PyTorch sees of the card, rounded down to whole GiB, since that is what a plan may fill
(its out-of-memory messages: A100 80 GB 79.15, vllm-project/vllm#4408; A10G 22.20, XavierXiao/Dreambooth-Stable-
Diffusion#18). For the others no message was found; it is the card's memory as AWS gives it less 1 to 2 %: H100 80,
A100 40, L4 22.35, H200 141.

`peak_tflops` are dense bf16 from NVIDIA's data sheets: H100 and H200 SXM 1,979 with sparsity, halved; A100 SXM 312;
L4 242 with sparsity, halved; A10G 70.

Host memory and local disk are those of the instance that is named beside each, as `aws ec2 describe-instance-types`
gives them, with 1/8 of the memory left to the system; local disks are sold in GB. The CPUs of a worker are a share
that smaller hosts have too; 2 of them are not the loader's.
"""

from typing import Any


def preset_fields() -> dict[str, dict[str, Any]]:
    """Fleet's fields for every preset, by its name."""
    return {
        "local": {},
        "local-2": {"workers_per_node": 2},
        "h100x8": _gpus(8, 79, 989, cpus=12, host_gib=2048, disk_gb=30_400),  # p5.48xlarge
        "h200x8": _gpus(8, 139, 989, cpus=12, host_gib=2048, disk_gb=30_400),  # p5en.48xlarge
        "a100-80x8": _gpus(8, 79, 312, cpus=10, host_gib=1152, disk_gb=8_000),  # p4de.24xlarge
        "a100-40x8": _gpus(8, 39, 312, cpus=10, host_gib=1152, disk_gb=8_000),  # p4d.24xlarge
        "l4x4": _gpus(4, 22, 121, cpus=10, host_gib=192, disk_gb=3_760),  # g6.12xlarge
        "a10gx4": _gpus(4, 22, 70, cpus=10, host_gib=192, disk_gb=3_800),  # g5.12xlarge
    }


def _gpus(
    gpus: int, memory_gib: int, peak_tflops: int, *, cpus: int, host_gib: int, disk_gb: int
) -> dict[str, Any]:
    return {
        "workers_per_node": gpus,
        "gpu": True,
        "cpus_per_worker": cpus,
        "memory_gib": memory_gib,
        "loader_processes": cpus - 2,
        "peak_tflops": peak_tflops,
        "host_memory_gib": host_gib * 7 // 8,
        "local_disk_gib": disk_gb * 10**9 // 2**30,
    }
