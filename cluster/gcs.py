"""One question to the head of a Ray cluster (its GCS), before Ray itself asks: what it says to which token.

Ray tries for 20 s with a token that is refused, prints as many lines, and then says that nobody answers.
"""

from typing import Literal

import grpc
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # it is compiled
from ray.exceptions import AuthenticationError

ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Answered to whoever may call anything (ray/core/generated/gcs_service_pb2_grpc.py)."""
SECONDS = 10.0

Reply = Literal["welcome", "refused", "silence"]


def own_token() -> dict[str, str]:
    """The header with this process's token, {} where there is none."""
    try:
        return dict(AuthenticationTokenLoader.instance().get_token_for_http_header())
    except AuthenticationError:  # the mode is token, and it finds none
        return {}


def call(target: str, header: dict[str, str], method: str = ALIVE, seconds: float = SECONDS) -> Reply:
    """What the gRPC server at host:port says to a call with this header. An empty request is enough to be refused."""
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(method)
        try:
            ask(b"", metadata=tuple(header.items()), timeout=seconds)
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return "refused"
            return (
                "silence"
                if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                else "welcome"
            )
    return "welcome"
