"""The doctor's judgements, from what nodes would say; and what it asks of a machine, asked of this one."""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from cluster.doctor import machines, ports, probe, reach, security
from cluster.doctor.finding import Finding, in_all, judged, refuse, worst
from cluster.doctor.nodes import Answers, Node, known_nodes
from cluster.errors import ClusterError
from cluster.fleet import Fleet

GIB = 2**30
FLEET = Fleet(name="two", nodes=2, workers_per_node=8, gpu=True)


def facts(**changed):
    """What a good node says."""
    good = {
        "versions": {"python": "3.11.7", "ray": "2.58.0"}, "gpus": ["H100"] * 8, "open_files": 65536,
        "shared_memory": 100 * GIB, "memory": 200 * GIB, "cache": "/tmp", "cache_free": 500 * GIB,
    }  # fmt: skip
    return {**good, **changed}


def bad(findings: list[Finding]) -> list[str]:
    return [one.line for one in findings if one.state != "ok"]


def test_a_node_with_another_version_is_named_with_both():
    nodes = {"a": facts(), "b": facts(versions={"python": "3.11.7", "ray": "2.57.0"})}
    found = machines.same_versions(nodes, {"python": "3.11.7", "ray": "2.58.0"})
    assert [(one.check, one.node, one.state) for one in found] == [
        ("version of python", "cluster", "ok"),
        ("version of ray", "b", "bad"),
    ]
    assert found[1].line.startswith(
        "version of ray (b): 2.57.0; it has to be 2.58.0, as here. install the same"
    )


@pytest.mark.parametrize(
    ("listed", "counted", "said"),
    [
        (["H100"] * 8, 8, []),
        ([], 0, []),  # a head
        (["H100"] * 8, 0, ["GPUs (b): 8 by nvidia-smi, 0 by Ray; it has to be equal"]),
        (["H100"] * 4, 4, ["GPUs (b): 4 x H100; it has to be 8 or more"]),
        (["H200"] * 8, 8, ["GPUs (cluster): 8 x H100, 8 x H200; it has to be of one kind"]),
    ],
)
def test_gpus(listed, counted, said):
    found = machines.gpus({"a": facts(), "b": facts(gpus=listed)}, {"a": 8, "b": counted}, FLEET)
    assert [line.partition(". ")[0] for line in bad(found)] == said


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "ok"),
        ({"open_files": 20_000}, "warn"),
        ({"open_files": 1024}, "bad"),
        ({"shared_memory": 20 * GIB}, "warn"),
        ({"shared_memory": 2**26}, "bad"),  # Docker's 64 MiB
    ],
)
def test_limits(changed, state):
    assert worst(machines.limits({"a": facts(), "b": facts(**changed)})) == state


@pytest.mark.parametrize(
    ("skew", "unsure", "state"),
    [(0.4, 0.1, "ok"), (-4.0, 0.1, "warn"), (4.0, 3.5, "ok"), (-40.0, 1.0, "bad")],
)
def test_clocks_are_judged_by_what_is_known_of_them(skew, unsure, state):
    assert worst(machines.clocks({"a": skew}, {"a": unsure})) == state


@pytest.mark.parametrize(("free", "needed", "state"), [(500, 400, "ok"), (300, 400, "warn"), (0.5, 0, "bad")])
def test_the_caches_disk(free, needed, state):
    assert worst(machines.cache_disk({"a": facts(cache_free=free * GIB)}, needed * GIB)) == state


class Here:
    """Two nodes that are this process; `private` ones have a disk of their own at every place."""

    def __init__(self, *private: str, silent: tuple[str, ...] = ()) -> None:
        self.nodes = [Node(name=name, id=name, address="127.0.0.1", gpus=0) for name in ("a", "b")]
        self.private, self.silent = private, silent

    def ask(self, function, arguments, seconds=0.0):  # noqa: ARG002 -- nothing takes time here
        said = {}
        for node in self.nodes:
            if node.name not in self.silent:
                place, *rest = arguments(node)
                said[node.name] = function(
                    f"{place}/{node.name}" if node.name in self.private else place, *rest
                )
        return Answers(said=said, silent=dict.fromkeys(self.silent, "no answer in 1 s"))


def test_nodes_that_cannot_connect_are_named_both(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as held:
        closed = held.getsockname()[1]
    monkeypatch.setattr(probe, "answer", lambda _, real=probe.answer: real("127.0.0.1"))
    assert reach.pairs(Here())[0].line == "reach (cluster): 2 of 2 pairs connect; it has to be all pairs"
    monkeypatch.setattr(probe, "answer", lambda _: closed)
    refused = [one.line for one in reach.pairs(Here())]
    assert [line.partition(";")[0] for line in refused] == [
        f"reach (a): cannot reach b, 127.0.0.1:{closed}: Connection refused",
        f"reach (b): cannot reach a, 127.0.0.1:{closed}: Connection refused",
    ]


def test_a_silent_node_is_named_with_the_limit():
    found = Here(silent=("b",)).ask(lambda place: place, lambda _: ("x",)).findings("answer", "is it alive?")
    assert [one.line for one in found] == [
        "answer (b): no answer in 1 s; it has to be an answer. is it alive?"
    ]


def test_nodes_of_one_host_are_told_apart():
    def node(host, number, alive=True, **resources):
        return {"Alive": alive, "NodeManagerHostname": host, "NodeID": number * 8, "NodeManagerAddress": "10.0.0.1",
                "Resources": resources}  # fmt: skip

    found = known_nodes(
        [node("vm", "b"), node("vm", "a", GPU=2.0), node("head", "c"), node("gone", "d", alive=False)]
    )
    assert [(one.name, one.gpus) for one in found] == [("head", 0), ("vm/aaaaaa", 2), ("vm/bbbbbb", 0)]


def test_all_that_is_bad_is_one_message():
    good, poor = (
        judged("a", "x", bad=False, there="1", limit="1", fix="f"),
        judged("b", "y", bad=True, there="0", limit="1", fix="mend it"),
    )
    refuse([good])
    with pytest.raises(
        ClusterError, match=r"(?s)would not carry the run:\n  b \(y\): 0; it has to be 1. mend it\n.*doctor"
    ):
        refuse([good, poor])


LISTENERS = [
    {"address": "::", "port": 6379, "what": "GCS", "reply": "refused"},
    {"address": "0.0.0.0", "port": 8080, "what": "agent", "reply": "metrics"},
]


@pytest.mark.parametrize(
    ("reply", "state", "there"),
    [
        ("refused", "ok", "1 refuse it"),
        ("open", "bad", "answer it: GCS [::]:6379"),
        ("silence", "warn", "0 refuse it; said nothing: GCS [::]:6379"),
    ],
)
def test_an_endpoint_that_answers_strangers_is_named(reply, state, there):
    found = security.endpoints("a", [{**LISTENERS[0], "reply": reply}, LISTENERS[1]])
    assert (found.state, found.there) == (state, there)
    assert bool(found.fix) == (state != "ok")


def test_open_metrics_are_said():
    found = security.metrics("a", LISTENERS)
    assert (found.state, found.there) == ("warn", "0.0.0.0:8080")
    assert security.metrics("a", [{**LISTENERS[1], "address": "127.0.0.1"}]).state == "ok"


@pytest.mark.parametrize(
    ("addresses", "state"),
    [(["127.0.0.1", "10.0.0.5", "fe80::1"], "ok"), (["10.0.0.5", "8.8.8.8"], "bad")],
)
def test_a_listener_on_all_addresses_is_as_public_as_its_host(addresses, state):
    assert security.listening("a", LISTENERS, addresses).state == state
    assert security.listening("a", [{"address": "127.0.0.1"}], ["8.8.8.8"]).there == "loopback"


@pytest.mark.parametrize(("mode", "state", "there"), [(0o600, "ok", "0600"), (0o644, "bad", "0644")])
def test_the_tokens_file(tmp_path, mode, state, there):
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.touch()
    file.chmod(mode)
    found = security.token_file("a", ports.token_file({"HOME": str(tmp_path)}))
    assert (found.state, found.there) == (state, f"{file}, {there}")
    none = security.token_file("a", ports.token_file({"HOME": str(tmp_path / "none")}))
    assert (none.state, none.there) == ("ok", f"no {tmp_path}/none/.ray/auth_token")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("python -m raytrain train --set seed=1", []),
        ("AKIAIOSFODNN7EXAMPLE", ["AKIA..."]),
        (
            json.dumps({"env_vars": {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG"}}),
            ["AWS_SECRET_ACCESS_KEY"],
        ),
        (str({"RAY_AUTH_TOKEN": "0123456789abcdef"}), ["RAY_AUTH_TOKEN"]),
        ("RAY_AUTH_TOKEN_PATH=/home/me/token", []),
    ],
)
def test_keys_are_found_and_not_repeated(text, names):
    assert ports.secrets_in(text) == names
    found = security.jobs({"one": text})
    assert [one.state for one in found] == (["bad"] if names else ["ok"])
    assert "wJalr" not in found[0].line
    assert "0123456789" not in found[0].line


class Answer(BaseHTTPRequestHandler):
    """As Ray's servers answer: refusing, with Prometheus' text, or with whatever."""

    said = (200, "text/html", b"hello")
    heard: dict[str, str] = {}  # noqa: RUF012 -- the server makes the handler

    def do_GET(self) -> None:
        type(self).heard = dict(self.headers)
        self.send_response(self.said[0])
        self.send_header("Content-Type", self.said[1])
        self.end_headers()
        self.wfile.write(self.said[2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    made = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made.server_address[1]
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ((401, "text/plain", b"Unauthorized"), "refused"),
        ((403, "text/plain", b"Forbidden"), "refused"),
        ((404, "text/plain", b""), "open"),  # it looked for the page before it asked who wants it
        ((200, "text/plain; version=0.0.4", b"# HELP ray_tasks"), "metrics"),
    ],
)
def test_what_a_web_server_says_to_a_stranger(server, monkeypatch, said, reply):
    monkeypatch.setattr(Answer, "said", said)
    assert ports.reply("0.0.0.0", server, {"Origin": "http://evil"}, "127.0.0.1") == reply
    assert Answer.heard["Origin"] == "http://evil"


def test_this_machine_is_looked_at():
    said = probe.look()
    assert said["versions"] == probe.versions()
    assert said["versions"]["ray"] == "2.58.0"
    assert len(said["versions"]["raytrain"]) == 12
    assert said["cache_free"] > 0
    assert said["gpus"] == [] or all(said["gpus"])


def test_the_version_of_raytrain_is_that_of_its_source(tmp_path, monkeypatch):
    for room in probe.ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    find = lambda room: SimpleNamespace(submodule_search_locations=[str(tmp_path / room)])  # noqa: E731
    monkeypatch.setattr(probe.importlib.util, "find_spec", find)
    before = probe.source_digest()
    (tmp_path / "tuning" / "__init__.py").write_text("# changed\n")
    assert probe.source_digest() != before


def test_what_listens_is_found_with_its_address():
    import psutil

    with socket.create_server(("127.0.0.1", 0)) as held:
        found = ports.listeners([psutil.Process(os.getpid())])
        assert {"address": "127.0.0.1", "port": held.getsockname()[1], "what": "driver"} in found


def test_the_verdict_counts_what_was_found():
    fine, odd, wrong = (
        Finding(check="x", state=state, there="0", limit="1") for state in ("ok", "warn", "bad")
    )
    assert in_all([fine, fine, odd]) == "nothing is bad; 1 warning, 2 ok"
    assert in_all([fine, wrong]) == "1 bad: mend that first; 0 warnings, 1 ok"
