"""What a cluster can hold, from what Ray says of its nodes."""

import pytest
import ray

from cluster.connect import check_room, connected, hosts, room
from cluster.errors import ClusterError, ClusterUsageError


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
