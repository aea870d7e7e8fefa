"""Recipes: functions that return a Recipe, found by name. A variant calls another and changes a field."""

import difflib
from collections.abc import Callable
from importlib import import_module

from raytrain.errors import UsageError
from raytrain.recipe import Recipe

_WHERE = {
    "smoke_swin_22k": "smoke",
    "smoke_swin_1k": "smoke",
    "smoke_swin_1k_scratch": "smoke",
    "smoke_resnext_cbam_22k": "smoke",
    "smoke_resnext_cbam_1k": "smoke",
    "smoke_resnext_cbam_1k_scratch": "smoke",
    "swin_b_22k": "swin",
    "swin_l_22k": "swin",
    "swin_b_22k_to_1k": "swin",
    "swin_l_22k_to_1k": "swin",
    "swin_b_22k_to_1k_384": "swin",
    "swin_l_22k_to_1k_384": "swin",
    "swin_t_1k": "swin",
    "swin_s_1k": "swin",
    "swin_b_1k": "swin",
    "resnext50_cbam_1k": "resnext",
    "resnext101_cbam_1k": "resnext",
}


def names() -> list[str]:
    """Every recipe's name."""
    return list(_WHERE)


def recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError, suggesting the nearest, for an unknown one."""
    if name not in _WHERE:
        near = difflib.get_close_matches(name, _WHERE, n=3, cutoff=0.3) or list(_WHERE)
        raise UsageError(f"unknown recipe '{name}'; the nearest: {', '.join(near)}. All: raytrain recipes")
    function: Callable[[], Recipe] = getattr(import_module(f"raytrain.recipes.{_WHERE[name]}"), name)
    return function()
