"""Who may speak to a cluster: whoever has its token, and where none is asked for, everybody who reaches it."""

import os
import socket
from ipaddress import ip_address

from cluster.errors import ClusterUsageError


def refuse_open(host: str, address: str) -> None:
    """Refuse a cluster that others reach too, without RAY_AUTH_MODE=token: it runs anyone's commands.

    That is every address but loopback's, this machine's own included. Raises ClusterUsageError.
    """
    if os.environ.get("RAY_AUTH_MODE") == "token" or is_loopback(host):
        return
    raise ClusterUsageError(
        f"others reach {address} too, and RAY_AUTH_MODE is not `token`: without a token Ray runs the commands of "
        "everyone who does. Start every node with RAY_AUTH_MODE=token and a token, and set both here "
        "(docs/clusters/address.md)"
    )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine's loopback."""
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False
