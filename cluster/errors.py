"""What can go wrong between this machine and a cluster.

ClusterError            the cluster refused, is unreachable or too small (exit code 1)
└── ClusterUsageError   the request or the fleet file is wrong (exit code 2)
"""

from typing import ClassVar

REFUSED = (
    "{address} asks for a token and refused this one, or got none. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, "
    "or RAY_AUTH_TOKEN_PATH to its file (without both Ray reads ~/.ray/auth_token)"
)


class ClusterError(Exception):
    """The cluster cannot do what was asked of it."""

    exit_code: ClassVar[int] = 1


class ClusterUsageError(ClusterError):
    """The fleet file or the request is wrong."""

    exit_code: ClassVar[int] = 2
