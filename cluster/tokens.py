"""Who may speak to a cluster: whoever has its token, and where none is asked for, everybody who reaches it."""

import os
import socket
from ipaddress import ip_address

from cluster.errors import ClusterUsageError


def refuse_open(host: str, address: str) -> None:
    """Refuse a cluster of another machine without RAY_AUTH_MODE=token: its Jobs API runs anyone's commands.

    Raises ClusterUsageError. A name that is not resolved counts as another machine.
    """
    if os.environ.get("RAY_AUTH_MODE") == "token" or is_loopback(host):
        return
    raise ClusterUsageError(
        f"{address} is another machine, and RAY_AUTH_MODE is not `token`: without a token Ray runs the commands of "
        "everyone who reaches it. Start every node with RAY_AUTH_MODE=token and a token, and set both here "
        "(docs/clusters/address.md)"
    )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine's loopback."""
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False
