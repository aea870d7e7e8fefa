"""Nobody else gets in: a head with a token refuses strangers everywhere, a stock head nowhere, and the doctor says so.

The head is that of test_jobs.py, with a key pair in its environment, which is searched for in what its jobs left.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from flavour_jobs import job
from ray_head import answering, ray_head, raytrain
from typer.testing import CliRunner

from cluster.cli import as_text
from cluster.doctor import ports
from cluster.flavours import NAMES, flavour
from raytrain.cli.doctor import app
from tests.cluster.canary import CANARY, leaks

STRANGERS = {
    "no token": {},
    "a wrong token": {"Authorization": f"Bearer {'0' * 32}"},
    "a page in a browser": {
        "Origin": "http://evil.example", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
        "Sec-Fetch-Mode": "cors", "Cookie": "ray-authentication-token=0",
    },
}  # fmt: skip
LISTENERS = """
import json, ray
from cluster.connect import connected
from cluster.doctor.nodes import all_nodes
from cluster.doctor import ports
from ray._private.worker import global_worker
with connected(None, {}), all_nodes() as nodes:
    session = global_worker.node.session_name
    said = nodes.ask(ports.guard, lambda node: (session, node.address), 120).said
    print(json.dumps([nodes.nodes[0].address, *said.values()]))
"""


def doctor(env: dict[str, str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and the findings by their check."""
    done = raytrain("cluster", "doctor", "--security", "--json", *words, env=env)
    return done.returncode, {one["check"]: one for one in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """`ray start --head` as it is."""
    with ray_head(tmp_path_factory.mktemp("stock"), asks=False) as env:
        yield env


@pytest.mark.ray
def test_strangers_are_refused_by_every_endpoint(head, stock):  # stock starts meanwhile
    asked = subprocess.run(
        [sys.executable, "-c", LISTENERS], env=head, capture_output=True, text=True, check=True
    )
    node, said = json.loads(asked.stdout.splitlines()[-1])
    found = {one["what"] for one in said["listeners"]}
    assert found >= {"GCS", "raylet", "dashboard", "agent", "Ray Client", "runtime environments", "worker"}
    open_ones = {
        (one["what"], who, reply)
        for one in said["listeners"]
        for who, headers in STRANGERS.items()
        if (reply := ports.reply(one["address"], one["port"], headers, node)) != "refused"
    }
    exporters = {(what, who, "metrics") for what in ("agent", "dashboard", "autoscaler") for who in STRANGERS}
    assert open_ones <= exporters, "docs/security.md names these, and no other"
    assert open_ones


@pytest.mark.ray
@pytest.mark.parametrize("who", STRANGERS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs/"), ("DELETE", "/api/jobs/two.steps"), ("GET", "/api/jobs/"), ("GET", "/nodes"),
        ("GET", "/api/jobs/two.steps/logs"), ("GET", "/api/v0/tasks?detail=1"), ("PUT", "/api/packages/gcs/a.zip"),
        ("GET", "/logs"), ("GET", "/api/v0/runtime_envs"), ("POST", "/api/jobs/two.steps/stop"),
    ],
)  # fmt: skip
def test_the_dashboard_refuses(head, who, method, path):
    body = (
        json.dumps({"entrypoint": "touch /tmp/rt-stranger"}).encode() if method in ("POST", "PUT") else None
    )
    headers = {"Content-Type": "application/json", **STRANGERS[who]}
    request = urllib.request.Request(head["RAY_API_SERVER_ADDRESS"] + path, body, headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code in (401, 403, 405)


@pytest.mark.ray
def test_the_doctor_is_green_on_a_head_with_a_token_and_says_what_is_in_sight(head):
    code, found = doctor(head)
    public = found.pop("listeners")["state"]  # that is for the machine to say on which the test runs
    assert code == (public == "bad")
    states = {check: one["state"] for check, one in found.items() if one["state"] != "ok"}
    assert states == {"metrics without token": "warn", "keys in the environment": "warn"}
    assert found["keys in the environment"]["there"] == ", ".join(CANARY)
    assert found["token file"]["there"].endswith("/token, 0600")


@pytest.mark.ray
def test_the_doctor_is_green_on_a_ray_of_our_own(head):
    code, found = doctor(
        {name: value for name, value in head.items() if not name.startswith(("RAY_", "AWS_"))}
    )
    assert (code, {one["state"] for one in found.values()}) == (0, {"ok"})
    assert found["listeners"]["there"] == "loopback"


@pytest.mark.ray
def test_the_doctor_is_red_on_stock_ray_and_names_what_answers(stock):
    answering(stock)
    code, found = doctor(stock)
    assert code == 1
    open_ones = found["call without token"]
    assert open_ones["state"] == "bad"
    for what in ("GCS", "dashboard", "raylet", "agent", "Ray Client"):
        assert f"{what} " in open_ones["there"]
    assert "RAY_AUTH_MODE=token" in open_ones["fix"]


@pytest.mark.ray
def test_a_key_in_the_environment_is_seen_nowhere(head):
    """Behind test_jobs.py's runs: in all logs of Ray, every answer of its APIs, and the arguments of all processes."""
    files = [path for path in Path(head["HEAD_FOLDER"]).rglob("*") if path.is_file()]
    assert len(files) > 20
    texts = {str(path): path.read_text(errors="replace") for path in files}
    with open(head["RAY_AUTH_TOKEN_PATH"]) as file:
        token = {"Authorization": f"Bearer {file.read()}"}
    for path in ("/api/jobs/", "/api/v0/tasks?detail=1", "/api/v0/actors?detail=1",
                 "/api/v0/runtime_envs?detail=1", "/api/v0/workers?detail=1", "/api/cluster_status"):  # fmt: skip
        request = urllib.request.Request(head["RAY_API_SERVER_ADDRESS"] + path, headers=token)
        texts[path] = urllib.request.urlopen(request, timeout=60).read().decode()
    for process in psutil.process_iter(["cmdline"]):
        texts[f"process {process.pid}"] = " ".join(process.info["cmdline"] or ())
    assert leaks(texts) == []


def test_a_key_in_the_environment_is_not_rendered(monkeypatch):
    for name, value in CANARY.items():
        monkeypatch.setenv(name, value)
    assert leaks({name: as_text(flavour(name).render(job(name))) for name in NAMES}) == []


def test_an_unreachable_cluster_is_one_message_and_exit_code_1():
    done = CliRunner().invoke(app, ["--address", "127.0.0.1:9"])
    assert getattr(done.exception, "exit_code", None) == 1
    assert str(done.exception).startswith("no Ray cluster answers at 127.0.0.1:9: Connection refused")
