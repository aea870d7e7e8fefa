"""A Ray that nobody else gets into: it listens on loopback only, and asks for a token that only this user can read.

Left alone, `ray.init` on one machine listens on all its addresses and runs the commands of whoever reaches them.
"""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray._private.ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # it is compiled

from cluster.variables import variables

OF_A_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""What Ray asks before it listens to other machines (ray/_private/services.py, `get_node_ip_address`). It always
replaces 127.0.0.1 as a node's address by the machine's own, so this is the one way to loopback."""


@contextmanager
def nobody_else() -> Iterator[None]:
    """Rays that are started meanwhile, and their clients, have this; afterwards all is as before."""
    constants = ray._private.ray_constants
    cluster = constants.ENABLE_RAY_CLUSTER
    with tempfile.TemporaryDirectory(prefix="raytrain-token-") as folder:  # mode 0700
        token = Path(folder) / "auth_token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        wanted = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), OF_A_CLUSTER: "0"}
        constants.ENABLE_RAY_CLUSTER = False
        try:
            with variables({**wanted, "RAY_AUTH_TOKEN": None}):  # it would be read first
                _read_again()
                yield
        finally:
            constants.ENABLE_RAY_CLUSTER = cluster
            _read_again()


def _read_again() -> None:
    """Ray reads these variables once, when it is imported."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
