"""What can go wrong between this machine and a cluster.

ClusterError            the cluster refused, is unreachable or too small (exit code 1)
└── ClusterUsageError   the request or the fleet file is wrong (exit code 2)
"""

from typing import ClassVar


class ClusterError(Exception):
    """The cluster cannot do what was asked of it."""

    exit_code: ClassVar[int] = 1


class ClusterUsageError(ClusterError):
    """The fleet file or the request is wrong."""

    exit_code: ClassVar[int] = 2
