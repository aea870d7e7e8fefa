"""What a cluster can hold, from what Ray says of its nodes."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import grpc
import pytest
import ray

from cluster import gcs
from cluster.connect import check_room, connected, hosts, room
from cluster.errors import ClusterError, ClusterUsageError
from cluster.private import nobody_else


def node(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "NodeManagerHostname": name, "Alive": alive, "Resources": resources}


NODES = [
    node("b", CPU=7.0, GPU=2.0),
    node("a", CPU=3.0),
    node("dead", alive=False, CPU=64.0, GPU=8.0),
    node("leaving", CPU=64.0, GPU=8.0),
]


@pytest.fixture(autouse=True)
def drained(monkeypatch):
    """One of the hosts is being taken away, by 0: no deadline."""
    monkeypatch.setattr("cluster.connect.state.get_draining_nodes", lambda: {"leaving": 0})


@pytest.mark.parametrize(("cpus", "gpu", "fits"), [(1, False, 10), (2, False, 4), (2, True, 2), (4, True, 1)])
def test_room_is_counted_node_by_node(monkeypatch, cpus, gpu, fits):
    monkeypatch.setattr(ray, "nodes", lambda: NODES)
    assert room(cpus, gpu) == fits
    assert hosts(cpus, gpu) == [name for name, holds in (("a", not gpu and cpus <= 3), ("b", True)) if holds]
    check_room(fits, cpus, gpu)
    with pytest.raises(ClusterError, match=f"room for {fits}. Use --workers {fits}"):
        check_room(fits + 1, cpus, gpu)


@pytest.mark.parametrize("address", ["http://head:8265", "head"])
def test_an_address_that_is_none_is_one_message(address):
    with (
        pytest.raises(ClusterUsageError, match=r"host:6379.*http://host:8265 is for"),
        connected(address, {}),
    ):
        pass


def test_a_refused_token_says_what_to_set(monkeypatch):
    def refuse(**_):
        raise ray.exceptions.AuthenticationError("no token")

    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(ClusterError, match=r"auto asks for a token.*RAY_AUTH_TOKEN_PATH"),
        connected("auto", {}),
    ):
        pass


@pytest.mark.parametrize("address", ["192.0.2.7:6379", "no-such-host.invalid:6379"])
def test_a_cluster_that_others_reach_is_refused_without_a_token(monkeypatch, address):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with (
        pytest.raises(ClusterUsageError, match=r"^others reach .* too, and RAY_AUTH_MODE is not `token`"),
        connected(address, {}),
    ):
        pass


def test_nodes_that_still_start_are_waited_for(monkeypatch):
    looks = iter([[], NODES[:1], NODES])
    monkeypatch.setattr(ray, "nodes", lambda: next(looks))
    monkeypatch.setattr("cluster.connect.BETWEEN_LOOKS", 0.0)
    monkeypatch.setenv("RAYTRAIN_WAIT_FOR_NODES", "60")
    check_room(10, 1, gpu=False)
    assert list(looks) == []


def test_another_version_of_ray_is_one_message(monkeypatch):
    def differ(**_):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.57.0\n    Python: 3.11.7\n"
        )

    monkeypatch.setattr(ray, "init", differ)
    with (
        pytest.raises(ClusterError, match=r"^auto is of another version.*Ray: 2.57.0"),
        connected("auto", {}),
    ):
        pass


@pytest.fixture
def head():
    """A head as far as its first answer goes: it knows one token. Its port, and what it heard."""
    heard = []

    def answer(request, context):
        heard.append(dict(context.invocation_metadata()).get("authorization"))
        if heard[-1] != "Bearer right":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    class Service(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(answer) if details.method == gcs.ALIVE else None

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Service()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", heard
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("token", "reply"),
    [({"authorization": "Bearer right"}, "welcome"), ({"authorization": "no"}, "refused"), ({}, "refused")],
)
def test_a_head_is_asked_with_this_token_before_ray_asks(head, monkeypatch, token, reply):
    target, heard = head
    assert gcs.call(target, token) == reply
    assert heard == [token.get("authorization")]
    monkeypatch.setattr("cluster.connect.own_token", lambda: token)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    refused = pytest.raises(
        ClusterError, match=rf"{target} asks for a token and refused this one, or got none"
    )
    with refused if reply == "refused" else nullcontext(), connected(target, {}):
        assert reply == "welcome"


def test_a_head_that_is_silent_or_another_server_is_no_refusal(head):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert gcs.call(f"127.0.0.1:{deaf.getsockname()[1]}", {}, seconds=0.5) == "silence"


def test_a_jobs_environment_ends_with_its_connection(monkeypatch):
    """What is started later, and is no part of the job, would have it."""
    monkeypatch.setattr("cluster.connect._join", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    with connected("local", {"OMP_NUM_THREADS": "1", "WDS_SECURE": "1"}):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["WDS_SECURE"]) == ("1", "1")
    assert dict(os.environ) == before


def test_an_environment_is_as_before_after_a_ray_of_our_own(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = dict(os.environ)
    with nobody_else():
        file = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert (os.environ["RAY_AUTH_MODE"], file.stat().st_mode & 0o777, len(file.read_text())) == (
            "token",
            0o600,
            64,
        )
        assert "RAY_AUTH_TOKEN" not in os.environ
        assert gcs.own_token() == {"authorization": f"Bearer {file.read_text()}"}
    assert dict(os.environ) == before
    assert not file.exists()
    assert gcs.own_token() == {}
