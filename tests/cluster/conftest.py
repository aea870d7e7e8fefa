"""For tests of the cluster room: one head with a token, and in its environment a key pair to be seen nowhere."""

from collections.abc import Iterator

import pytest
from ray_head import answering, ray_head

from tests.cluster.canary import CANARY


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of its clients, with RAY_ADDRESS."""
    with ray_head(tmp_path_factory.mktemp("head"), **CANARY) as env:
        answering(env)
        yield env
