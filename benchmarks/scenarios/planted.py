"""The scenarios: what is wrong in each, as planted. That the planted change is the best one, brute force shows."""

from scenarios.noise import NoisyWorld
from scenarios.world import MadeWorld, Scenario

SCENARIOS = (
    Scenario(name="too narrow", cause="capacity", width=8),
    Scenario(name="too few images", cause="data", images=600, width=64, weight_decay=2.0),
    Scenario(
        name="overfits",
        cause="regularization",
        images=2000,
        mislabelled=0.4,
        width=64,
        lr=0.02,
        weight_decay=0.2,
    ),
    Scenario(name="held back", cause="less_regularization", width=64, weight_decay=10.0),
    Scenario(name="learning rate too low", cause="lr_up", width=64, lr=1e-3),
    Scenario(name="learning rate too high", cause="lr_down", mislabelled=0.3, width=64, lr=0.2),
    Scenario(name="too short", cause="longer", width=64, lr=0.06, steps=30),
    Scenario(
        name="wrong labels", cause="labels", images=3000, mislabelled=0.5, relabel=True, weight_decay=2.0
    ),
    Scenario(
        name="at the floor",
        cause="floor",
        target=0.005,
        classes=2,
        sigma=1.2,
        images=16000,
        lr=3e-3,
        weight_decay=3.0,
    ),
    Scenario(name="labels shuffled", cause="bug", fault="labels shuffled"),
    Scenario(name="images blanked", cause="bug", fault="images blanked"),
    Scenario(name="shards sorted", cause="bug", fault="shards sorted"),
    Scenario(name="held-out images leaked", cause="bug", fault="held-out images leaked"),
    Scenario(name="held-out classes reordered", cause="bug", fault="held-out classes reordered"),
    Scenario(name="loader too slow", cause="input", wait=0.4),
    Scenario(
        name="diverges half-way", cause="numerics", lr=0.1, weight_decay=0.01, fault="loss scale too high"
    ),
    Scenario(name="seeds differ by more", cause="inconclusive", target=0.1),
)


def world_of(scenario: Scenario, draw: int) -> MadeWorld | NoisyWorld:
    """The world of a scenario, with one draw of its data."""
    return (NoisyWorld if scenario.cause == "inconclusive" else MadeWorld)(scenario, draw)
