"""The plan: what will happen here. Every number is derived once, in the open, with the rule it came from."""

from raytrain.plan.differences import differences, flatten
from raytrain.plan.facts import DataFacts, SetFacts
from raytrain.plan.resolve import resolve
from raytrain.plan.values import (
    Estimates,
    Init,
    Lengths,
    Memory,
    Placement,
    RunPlan,
    Teacher,
)

__all__ = [
    "DataFacts",
    "Estimates",
    "Init",
    "Lengths",
    "Memory",
    "Placement",
    "RunPlan",
    "SetFacts",
    "Teacher",
    "differences",
    "flatten",
    "resolve",
]
