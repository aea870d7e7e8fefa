"""A scenario's verdicts, judged by what was planted and by what the advice is worth."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from scenarios.planted import world_of
from scenarios.rules import first_round, gap_rule, outcome
from scenarios.truth import best, effects, regret
from scenarios.world import Scenario
from tuning.method.effects import CAUSES
from tuning.method.rows import Outcome
from tuning.method.state import STOPS


def judge(scenario: Scenario, draws: Sequence[int]) -> dict[str, Any]:
    """Both rules in each world. `best` and the regrets, where a change of the model is a question at all."""
    worlds = [world_of(scenario, draw) for draw in draws]
    found = first_round(scenario, worlds)
    said = [outcome(verdict) for verdict, _ in found]
    gap = [gap_rule(scenario, world) for world in worlds]
    told = {
        "name": scenario.name,
        "planted": scenario.cause,
        "said": said,
        "gap_rule": gap,
        "trainings": median(len(state.trained) for _, state in found),
    }
    if scenario.cause in STOPS:
        return told
    truth = effects(scenario, worlds)
    return told | {
        "best": best(truth),
        "effects": {cause: [one.effect, one.standard_error] for cause, one in truth.items()},
        "regret": fmean(regret(truth, one) for one in said),
        "gap_rule_regret": fmean(regret(truth, one) for one in gap),
    }


def changes_model(said: Outcome) -> bool:
    """Whether it is a verdict on the model, its data or its training."""
    return said in CAUSES.values()


def totals(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over scenarios, for both rules."""
    sums: dict[str, Any] = {"verdicts": sum(len(one["said"]) for one in judged)}
    for rule, suffix in (("said", ""), ("gap_rule", "_gap_rule")):
        stops = [said for one in judged if one["planted"] in STOPS for said in one[rule]]
        sums |= {
            f"named{suffix}": sum(said == one["planted"] for one in judged for said in one[rule]),
            f"model_blamed{suffix}": sum(map(changes_model, stops)),
        }
    return sums | {"stops": len(stops)}


def counted(said: Sequence[str]) -> str:
    """`capacity 4, bug 1`; the commonest first."""
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in Counter(said).most_common())
