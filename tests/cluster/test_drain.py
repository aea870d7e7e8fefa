"""The spot notifier, against a stand-in of AWS's metadata service and of `ray`."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from cluster.drain import DEADLINE_SECONDS, noticed, watch

NOTICE = '{"action": "terminate", "time": "2026-11-26T00:00:00Z"}'


class Metadata(BaseHTTPRequestHandler):
    """IMDSv2: a token by PUT, then the notice by GET with it; 404 while there is none."""

    answers: ClassVar[list[int]] = []

    def do_PUT(self) -> None:
        good = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.answer(200 if good else 400, "the-token")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "the-token":
            self.answer(401, "")
        else:
            assert self.path == "/latest/meta-data/spot/instance-action"
            self.answer(self.answers.pop(0), NOTICE)

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode() if code == 200 else b"")

    def log_message(self, *_words) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_notice_is_read_with_a_token(metadata):
    Metadata.answers = [404, 200]
    assert noticed(metadata) is None
    assert noticed(metadata) == NOTICE


def test_a_notice_drains_this_node_once(metadata, tmp_path, monkeypatch):
    ray = tmp_path / "ray"
    ray.write_text(f'#!/bin/sh\nprintf "%s|" "$RAY_ADDRESS" "$@" >> {tmp_path}/heard\n')
    ray.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Metadata.answers = [404, 500, 200]
    waited: list[float] = []
    said: list[str] = []
    watch("10.0.0.1:6379", metadata, waited.append, said.append)
    assert (tmp_path / "heard").read_text().split("|") == [
        "10.0.0.1:6379",
        "drain-node",
        "--address",
        "10.0.0.1:6379",
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        NOTICE,
        "--deadline-remaining-seconds",
        str(DEADLINE_SECONDS),
        "",
    ]
    assert waited == [5.0, 5.0]
    assert len(said) == 2
    assert said[0].startswith("no answer from http://127.0.0.1:")


def test_ray_has_that_command_and_reason():
    from ray.scripts.scripts import cli

    options = {option for parameter in cli.commands["drain-node"].params for option in parameter.opts}
    assert {"--address", "--reason", "--reason-message", "--deadline-remaining-seconds"} <= options
    [reason] = [parameter for parameter in cli.commands["drain-node"].params if parameter.name == "reason"]
    assert "DRAIN_NODE_REASON_PREEMPTION" in reason.type.choices
