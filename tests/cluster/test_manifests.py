"""What is rendered: goldens that a person has read, schemas, and what a pod or a machine must not be allowed."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from flavour_jobs import GPUS, job
from jsonschema import Draft7Validator
from kuberay_fields import NETWORK_POLICY, RAY_JOB, wrong

from cluster.cli import as_text
from cluster.flavours import NAMES, flavour
from cluster.fleet import Fleet, load_fleet
from cluster.places import Kuberay

PLAIN = GPUS.model_copy(
    update={"nodes": 1, "gpu": False, "spot": False, "storage": "s3://bucket/runs", "kuberay": Kuberay()}
)


def rendered(name: str, fleet: Fleet = GPUS) -> str:
    return as_text(flavour(name).render(job(name, fleet=fleet)))


def manifests(fleet: Fleet = GPUS) -> tuple[dict, dict]:
    policy, ray_job = yaml.safe_load_all(rendered("kuberay", fleet))
    return policy, ray_job


def pods(ray_job: dict) -> list[dict]:
    spec = ray_job["spec"]
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [spec["submitterPodTemplate"], *(group["template"] for group in groups)]


@pytest.mark.parametrize("name", ["address", "kuberay", "vms", "slurm"])
def test_rendered_text_is_as_it_was_read(name, golden):
    golden(f"cluster/{name}.txt", rendered(name))


def test_this_machines_script_is_as_it_was_read(golden, monkeypatch):
    monkeypatch.setattr("sys.executable", "/venv/bin/python")
    golden("cluster/local.txt", as_text(flavour("local").render(job("local", working_dir="/home/me"))))


@pytest.mark.parametrize("fleet", [GPUS, PLAIN], ids=["gpus", "plain"])
def test_a_rayjob_has_no_field_that_the_operator_does_not_know(fleet):
    policy, ray_job = manifests(fleet)
    assert wrong(ray_job, RAY_JOB) == []
    assert wrong(policy, NETWORK_POLICY) == []


def test_an_unknown_field_would_be_found():
    _, ray_job = manifests()
    pod = ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    pod["hostNetwork"] = True
    ray_job["spec"]["backoffLimit"] = "3"
    found = wrong(ray_job, RAY_JOB)
    assert found == [
        ".spec.backoffLimit: '3' is no int",
        ".spec.rayClusterSpec.headGroupSpec.template.spec.hostNetwork: unknown",
    ]


@pytest.mark.parametrize("fleet", [GPUS, PLAIN], ids=["gpus", "plain"])
def test_pods_may_do_little(fleet):
    _, ray_job = manifests(fleet)
    assert len(pods(ray_job)) == 3
    for pod in pods(ray_job):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert all("hostPath" not in volume for volume in spec["volumes"])
        assert {"/tmp", "/dev/shm"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_no_token_stands_in_any_file_or_command():
    _, ray_job = manifests()
    assert ray_job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert all(
        entry["name"] != "RAY_AUTH_TOKEN"
        for pod in pods(ray_job)
        for entry in pod["spec"]["containers"][0]["env"]
    )
    for name in NAMES:
        assert "RAY_AUTH_TOKEN=" not in as_text(flavour(name).render(job(name)))


def test_the_network_policy_denies_what_it_does_not_name():
    policy, ray_job = manifests()
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert all(chosen.items() <= pod["metadata"]["labels"].items() for pod in pods(ray_job))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    own, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": chosen}}]}
    assert operator["ports"] == [{"port": 8265, "protocol": "TCP"}]
    inside, names, storage = policy["spec"]["egress"]
    assert inside == {"to": [{"podSelector": {"matchLabels": chosen}}]}
    assert {port["port"] for port in names["ports"]} == {53}
    assert storage == {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
        "ports": [{"port": 443, "protocol": "TCP"}],
    }


def test_kueue_admits_the_job_whole_or_it_waits():
    _, queued = manifests()
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert queued["spec"]["suspend"] is True
    _, plain = manifests(PLAIN)
    assert plain["spec"]["suspend"] is False
    [group] = queued["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (2, 2, 2), (
        "a gang does not grow"
    )


def test_gpus_are_asked_for_by_workers_only():
    _, ray_job = manifests()
    asked = [
        pod["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for pod in pods(ray_job)
    ]
    assert asked == [None, None, "8"]


def launcher(fleet: Fleet = GPUS) -> dict:
    return yaml.safe_load(rendered("vms", fleet))


def launcher_schema() -> Draft7Validator:
    [ray] = importlib.util.find_spec("ray").submodule_search_locations
    return Draft7Validator(json.loads((Path(ray) / "autoscaler" / "ray-schema.json").read_text()))


@pytest.mark.parametrize("spot", [True, False])
def test_the_launchers_file_is_valid_by_rays_own_schema(spot):
    file = launcher(GPUS.model_copy(update={"spot": spot}))
    assert [error.message for error in launcher_schema().iter_errors(file)] == []
    assert [error.message for error in launcher_schema().iter_errors({**file, "max_worker": 2})] != []
    workers = file["available_node_types"]["worker"]
    assert (workers["min_workers"], workers["max_workers"], file["max_workers"]) == (2, 2, 2)
    assert ("InstanceMarketOptions" in workers["node_config"]) is spot
    assert any("cluster.drain" in command for command in file["worker_start_ray_commands"]) is spot
    assert "InstanceMarketOptions" not in file["available_node_types"]["head"]["node_config"]


def test_machines_are_reached_by_their_own_groups_only():
    file = launcher()
    for kind in file["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == ["sg-1"]
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert kind["node_config"]["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    started = [
        line
        for key in ("head", "worker")
        for line in file[f"{key}_start_ray_commands"]
        if "ray start" in line
    ]
    assert all("RAY_AUTH_MODE=token" in line for line in started)
    assert "--dashboard-host=127.0.0.1" in started[0]
    assert file["file_mounts"] == {"~/.raytrain-token": "token"}


@pytest.mark.parametrize("fleet", [GPUS, PLAIN], ids=["gpus", "plain"])
@pytest.mark.parametrize("name", ["slurm", "local"])
def test_scripts_are_scripts(name, fleet, tmp_path):
    fleet = load_fleet("local") if name == "local" else fleet
    [text] = flavour(name).render(job(name, fleet=fleet)).files.values()
    script = tmp_path / "script"
    script.write_text(text)
    shell = text.splitlines()[0].removeprefix("#!")
    assert subprocess.run([shell, "-n", script], capture_output=True, text=True).stderr == ""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed; the shell itself has read it")
    literal = "--exclude=SC2016"  # the user's own words may hold a $, quoted
    checked = subprocess.run(["shellcheck", literal, script], capture_output=True, text=True)
    assert checked.stdout == ""
