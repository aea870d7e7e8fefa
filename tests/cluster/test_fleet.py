"""Fleets: presets and files, and what is said of a wrong one."""

import gzip
import json
from pathlib import Path

import moto
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ClusterUsageError
from cluster.fleet import Fleet, load_fleet, presets

RENTED = """\
name: rented
nodes: 4
workers_per_node: 8
gpu: true
cpus_per_worker: 12
memory_gib: 80
sustained_tflops: 210.5
node_price_per_hour: 25
placement: SPREAD
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rented.yaml"
    path.write_text(RENTED)
    return path


def refusal(name: str, workers: int | None = None) -> str:
    with pytest.raises(ClusterUsageError) as refused:
        load_fleet(name, workers)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_presets_are_known_by_their_names() -> None:
    assert {name: fleet.name for name, fleet in presets().items()} == {name: name for name in presets()}
    assert {
        name: (fleet.workers, fleet.memory_gib, fleet.peak_tflops) for name, fleet in presets().items()
    } == {
        "local": (1, 4, None),
        "local-2": (2, 4, None),
        "h100x8": (8, 79, 989),
        "h200x8": (8, 139, 989),
        "a100-80x8": (8, 79, 312),
        "a100-40x8": (8, 39, 312),
        "l4x4": (4, 22, 121),
        "a10gx4": (4, 22, 70),
    }
    assert {fleet.sustained_tflops for fleet in presets().values()} == {None}, "nobody measured them"
    assert {fleet.node_price_per_hour for fleet in presets().values()} == {None}, "prices change"


@pytest.mark.parametrize(
    ("name", "instance", "gpu"),
    [
        ("h100x8", "p5.48xlarge", "H100"),
        ("h200x8", "p5en.48xlarge", "H200"),
        ("a100-80x8", "p4de.24xlarge", "A100"),
        ("a100-40x8", "p4d.24xlarge", "A100"),
        ("l4x4", "g6.12xlarge", "L4"),
        ("a10gx4", "g5.12xlarge", "A10G"),
    ],
)
def test_presets_fit_the_machines_that_they_are_named_after(name: str, instance: str, gpu: str) -> None:
    """Against what AWS's describe-instance-types says, which moto carries."""
    resources = Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz"
    machine = json.loads(gzip.decompress(resources.read_bytes()))[instance]
    [card] = machine["GpuInfo"]["Gpus"]
    fleet = presets()[name]
    assert (card["Name"], card["Count"]) == (gpu, fleet.workers_per_node)
    assert 0.96 < fleet.memory_gib / (card["MemoryInfo"]["SizeInMiB"] / 1024) < 1
    assert fleet.cpus_per_worker * fleet.workers_per_node <= machine["VCpuInfo"]["DefaultVCpus"] * 7 / 8
    assert fleet.host_memory_gib == machine["MemoryInfo"]["SizeInMiB"] / 1024 * 7 / 8
    disk = machine["InstanceStorageInfo"]["TotalSizeInGB"] * 10**9
    assert fleet.local_disk_gib is not None
    assert disk - 2**30 < fleet.local_disk_gib * 2**30 <= disk


def test_a_file_says_everything(file: Path) -> None:
    assert load_fleet(str(file)) == Fleet(
        name="rented",
        nodes=4,
        workers_per_node=8,
        gpu=True,
        cpus_per_worker=12,
        memory_gib=80,
        sustained_tflops=210.5,
        node_price_per_hour=25,
        placement="SPREAD",
    )
    assert load_fleet(str(file)).workers == 32


def test_storage_that_all_nodes_reach_is_taken(file: Path) -> None:
    for storage in (
        "storage: s3://bucket/runs",
        "storage: /data\nstorage_shared: true",
        "nodes: 1\nstorage: /data",
    ):
        file.write_text(
            RENTED.replace("nodes: 4\n", "")
            + f"{storage}\n"
            + ("nodes: 4\n" if "nodes" not in storage else "")
        )
        assert load_fleet(str(file)).storage in ("s3://bucket/runs", "/data")


def test_a_fleet_travels_in_one_line(file: Path) -> None:
    fleet = load_fleet(str(file))
    assert load_fleet(fleet.inline) == fleet
    assert refusal('{"name": "x", "gpus": 8}').startswith("the inline fleet: gpus: no such field")


@given(st.integers(1, 1000))
def test_workers_can_be_said_for_one_node(workers: int) -> None:
    fleet = load_fleet("local", workers)
    assert fleet.workers == workers
    assert fleet.model_copy(update={"workers_per_node": 1}) == load_fleet("local")


def test_workers_of_many_nodes_cannot(file: Path) -> None:
    assert refusal(str(file), 3) == (
        "--workers 3 cannot change fleet 'rented' of 4 nodes: edit workers_per_node"
    )
    assert refusal("local", 0) == "--workers 0: a run needs at least 1 worker"


def test_an_unknown_name_lists_the_presets() -> None:
    assert refusal("tpu") == (
        "unknown fleet 'tpu': a preset (local, local-2, h100x8, h200x8, a100-80x8, a100-40x8, l4x4, a10gx4) or the "
        "path of a .yaml file"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nodes: 4", "nodes: many", 'nodes: "many" should be a valid integer'),
        ("nodes: 4", "nodes: 0", "nodes: 0 should be greater than 0"),
        ("name: rented\n", "", "name: this one is missing"),
        ("gpu: true", "gpus: 8", "gpus: no such field; there are name, nodes, workers_per_node, gpu,"),
        ("memory_gib: 80", "memory_gib: .inf", "memory_gib: Infinity should be a finite number"),
        ("memory_gib: 80", "memory_gib: 80 GiB", 'memory_gib: "80 GiB" should be a valid number'),
        ("placement: SPREAD", "placement: WIDE", "placement: \"WIDE\" should be 'PACK' or 'SPREAD'"),
        (
            "node_price_per_hour: 25",
            "node_price_per_hour: -25",
            "node_price_per_hour: -25 should be greater than or equal to 0",
        ),
        (
            "node_price_per_hour: 25",
            "node_price_per_hour: 25 USD",
            'node_price_per_hour: "25 USD" should be a valid number',
        ),
        ("node_price_per_hour: 25", "price: 25", "price: no such field; there are name, nodes,"),
        ("sustained_tflops: 210.5", "peak_tflops: 0", "peak_tflops: 0 should be greater than 0"),
        (
            "sustained_tflops: 210.5",
            "peak_tflops: 989 bf16",
            'peak_tflops: "989 bf16" should be a valid number',
        ),
        ("placement: SPREAD", "image: a b", 'image: "a b" should be a container image, such as '),
        (
            "placement: SPREAD",
            "storage: gs://bucket",
            'storage: "gs://bucket" should be s3://bucket/prefix, the bucket 3 to 63 of',
        ),
        ("placement: SPREAD", "storage: /data/$(id)", 'storage: "/data/$(id)" should be s3://bucket/prefix'),
        (
            "placement: SPREAD",
            "storage: /data/runs",
            ": storage: /data/runs is a path on one machine, and the fleet has 4 nodes: use s3://bucket/prefix, or say "
            "`storage_shared: true` if every node mounts that disk",
        ),
        (
            "placement: SPREAD",
            "kuberay: {name_space: x}",
            "kuberay.name_space: no such field; there are namespace,",
        ),
        (
            "placement: SPREAD",
            "kuberay: {namespace: a;b}",
            'kuberay.namespace: "a;b" should be a name of Kubernetes: 1 to 63',
        ),
        ("placement: SPREAD", "slurm: {venv: '/v; id'}", 'slurm.venv: "/v; id" should be a path from / on'),
        ("placement: SPREAD", "kuberay: {storage_cidr: all}", '"all" should be addresses such as 10.0.0.0/8'),
        (
            "placement: SPREAD",
            "vms: {region: r, instance_type: t, security_groups: [a], nfs: fs}",
            'vms.nfs: "fs" should be SERVER:/PATH',
        ),
        ("placement: SPREAD", "slurm: {}", "slurm.venv: this one is missing"),
        (
            "placement: SPREAD",
            "vms: {region: r, instance_type: t}",
            "vms.security_groups: this one is missing",
        ),
        (RENTED, "", "the file: should be fields with their values, not null"),
        (RENTED, "- name: rented", "the file: should be fields with their values, not [{'name': 'rented'}]"),
        ("name: rented", "name: {2020-01-01: x}", "name: {datetime.date(2020, 1, 1): 'x'} should be text"),
        ("nodes: 4", "nodes: &a [*a]", "nodes: [[...]] should be a valid integer"),
        ("name: rented", "8: rented", "8: a field's name should be text"),
        (
            "placement: SPREAD",
            "kuberay: {node_selector: a}",
            'kuberay.node_selector: should be fields with their values, not "a"',
        ),
        ("nodes: 4", "nodes: [4", "is no YAML"),
        ("name: rented", "name: \x00", "is no YAML"),
    ],
)
def test_a_wrong_file_names_the_field(file: Path, old: str, new: str, said: str) -> None:
    file.write_text(RENTED.replace(old, new))
    refused = refusal(str(file))
    assert refused.startswith(str(file))
    assert said in refused
    assert "pydantic" not in refused


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text(
        """\
name: 8
nodes: 4
gpus: 8
workers_per_node: 0
price: 25
storage: /data/runs
kuberay: default
slurm: {vens: /v}
vms: {region: r, instance_type: t, security_groups: sg-1}
"""
    )
    fields = ", ".join(Fleet.model_fields)
    assert refusal(str(file)).splitlines() == [
        f"{file}: 8 things are wrong",
        "  name: 8 should be text, in quotes where it looks like something else",
        "  workers_per_node: 0 should be greater than 0",
        "  storage: /data/runs is a path on one machine, and the fleet has 4 nodes: use s3://bucket/prefix, or say "
        "`storage_shared: true` if every node mounts that disk",
        '  kuberay: should be fields with their values, not "default"',
        '  vms.security_groups: "sg-1" should be a list, e.g. ["sg-1"]',
        "  slurm.venv: this one is missing",
        "  slurm.vens: no such field; there are venv, partition, account, gpus, hours",
        f"  gpus, price: no such field; there are {fields}",
    ]


def test_a_wrong_entry_of_a_list_is_no_missing_one(file: Path) -> None:
    file.write_text(RENTED + "vms: {region: r, instance_type: t, security_groups: [1]}\n")
    assert refusal(str(file)) == (
        f"{file}: vms.security_groups.0: 1 should be text, in quotes where it looks like something else"
    )


def test_what_is_no_text_file_is_refused_too(tmp_path: Path) -> None:
    binary, folder, absent = (tmp_path / name for name in ("binary.yaml", "folder.yaml", "absent.yml"))
    binary.write_bytes(b"\xff\xfe\x00name")
    folder.mkdir()
    assert refusal(str(binary)).startswith(f"{binary} is no YAML")
    assert refusal(str(folder)) == f"cannot read the fleet file {folder}: Is a directory"
    assert refusal(str(absent)) == f"no fleet file at {absent}"


def test_nothing_in_a_fleet_file_is_run(file: Path, tmp_path: Path) -> None:
    gadget = f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'mark'}']"
    file.write_text(gadget)
    assert "is no YAML" in refusal(str(file))
    assert not (tmp_path / "mark").exists()
    yaml.unsafe_load(gadget)
    assert (tmp_path / "mark").exists(), "the gadget works where it is let"
