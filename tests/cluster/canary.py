"""A key pair as it is in somebody's environment, to be searched for in all that raytrain and Ray write and tell."""

CANARY = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0000",
    "AWS_SECRET_ACCESS_KEY": "canaryCanaryCanaryCanaryCanaryCanary/key",
}
"""As keys look; they open nothing."""


def leaks(texts: dict[str, str]) -> list[str]:
    """The names of the texts that hold one of the two."""
    return [name for name, text in texts.items() if any(key in text for key in CANARY.values())]
