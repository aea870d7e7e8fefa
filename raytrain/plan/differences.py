"""What differs between two plans of what should be one run."""

import json
from typing import Any

from raytrain.plan.values import RunPlan


def differences(old: RunPlan, new: RunPlan) -> list[str]:
    """The fields in which two plans' identities differ, one line each: `path: old -> new`."""
    before, after = flatten(old.identity), flatten(new.identity)
    paths = sorted(before.keys() | after.keys())
    return [
        f"{path}: {before.get(path, '(none)')} -> {after.get(path, '(none)')}"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves of nested JSON by their dotted paths, as JSON texts."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value)
    return flat
