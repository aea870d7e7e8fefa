"""A proxy in front of an S3 server that answers some requests with a fault, by a plan the test gives."""

import contextlib
import http.client
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

REFUSALS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal": (500, "InternalError", "We encountered an internal error."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "absent": (404, "NoSuchKey", "The specified key does not exist."),
    "unknown_key": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."),
    "wrong_secret": (403, "SignatureDoesNotMatch", "The request signature we calculated does not match."),
    "skewed": (
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's is large.",
    ),
    "malformed": (
        400,
        "AuthorizationHeaderMalformed",
        "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
    ),
    "no_bucket": (404, "NoSuchBucket", "The specified bucket does not exist"),
    "other_region": (301, "PermanentRedirect", "The bucket must be addressed using another endpoint."),
    "moved": (307, "TemporaryRedirect", "Please re-send this request to the specified endpoint."),
}
TRANSIENT = ("slow_down", "internal", "reset", "reset_in_body", "truncated", "no_length", "stall", "drip")
"""What a read must survive. `flip` is not among them: only a digest finds it."""

Fault = str | None


class Seen(NamedTuple):
    """A request that arrived, and what it was answered with."""

    method: str
    path: str
    range: str | None
    fault: Fault


class FaultProxy:
    """`plan(method, path)` gives the fault of each request, or None; `every(...)` and `first(...)` make plans."""

    def __init__(self, upstream: str, plan: Callable[[str, str], Fault]) -> None:
        self.seen: list[Seen] = []
        self.plan = plan
        self.closing = threading.Event()  # ends stalls
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, urlsplit(upstream).netloc))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def gets(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET"]


def first(faults: Iterable[Fault], method: str = "GET") -> Callable[[str, str], Fault]:
    """These faults for the first requests of a method, one each; then none."""
    left, lock = itertools.chain(faults, itertools.repeat(None)), threading.Lock()

    def plan(asked: str, _path: str) -> Fault:
        if asked != method:
            return None
        with lock:
            return next(left)

    return plan


def _handler(proxy: FaultProxy, upstream: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def _any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.plan(self.command, self.path)
            proxy.seen.append(Seen(self.command, self.path, self.headers.get("Range"), fault))
            if fault == "reset":
                return self._reset()
            if fault in REFUSALS:
                return self._refuse(*REFUSALS[fault])
            if fault == "stall" and self.command == "PUT":
                proxy.closing.wait()
                return None
            onward = http.client.HTTPConnection(upstream)
            onward.request(self.command, self.path, sent, dict(self.headers))
            answer = onward.getresponse()
            body = answer.read()
            onward.close()
            return self._answer(answer, body, fault)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815

        def _answer(self, answer: http.client.HTTPResponse, body: bytes, fault: Fault) -> None:
            half = len(body) // 2
            if fault == "flip":
                body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                kept = name.lower() not in ("connection", "content-length", "transfer-encoding")
                if kept or (name.lower() == "content-length" and self.command == "HEAD"):
                    self.send_header(name, value)
            if fault == "no_length":
                self.send_header("Connection", "close")
            elif self.command != "HEAD" and answer.status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            whole = fault in (None, "flip")
            self.wfile.write(body if whole else body[:half])
            if fault == "reset_in_body":
                self._reset()
            elif fault in ("truncated", "no_length"):
                self.close_connection = True
            elif fault == "stall":
                proxy.closing.wait()
                self.close_connection = True
            elif fault == "drip":
                for byte in body[half:]:
                    if proxy.closing.wait(0.05):
                        break
                    self.wfile.write(bytes([byte]))
                self.close_connection = True

        def _refuse(self, status: int, code: str, message: str) -> None:
            region = "<Region>eu-west-1</Region>" if status in (301, 400) else ""
            body = f"<Error><Code>{code}</Code><Message>{message}</Message>{region}</Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status in (301, 307):
                self.send_header("x-amz-bucket-region", "eu-west-1")
                self.send_header("Location", f"{proxy.url}/elsewhere")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _reset(self) -> None:
            """Close with an RST: a linger time of 0 throws away what was not sent."""
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RD)
            self.connection.close()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the client went away, or the socket was reset above
                self.close_connection = True

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler
