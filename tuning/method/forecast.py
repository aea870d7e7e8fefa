"""What a round will take before anything is spent: what is likely, and the most."""

from collections.abc import Sequence

from data_shards.shardset import Value
from tuning.method.probes import MOST
from tuning.method.state import MethodState
from tuning.method.values import Change
from tuning.method.world import World

KEPT = 0.5  # of the changes more than one pair is made [choice; in made-up worlds of one cause 0.3 to 0.6]


class Line(Value):
    """Trainings of one sort: how many and how many GPU-hours, expected and at worst."""

    what: str
    expected: float
    expected_hours: float
    worst: int
    worst_hours: float


class Forecast(Value):
    """A round from baseline to confirmation. A study makes rounds until it ends or its budget does."""

    lines: tuple[Line, ...]
    budget: float

    @property
    def expected_hours(self) -> float:
        """GPU-hours of a round as it mostly goes, within the budget."""
        return min(self.budget, sum(line.expected_hours for line in self.lines))

    @property
    def worst_hours(self) -> float:
        """GPU-hours of a round in which all stays open to the last pair, within the budget."""
        return min(self.budget, sum(line.worst_hours for line in self.lines))


def forecast(state: MethodState, world: World) -> Forecast:
    """A first round from this state."""
    seeds, most = state.spec.seeds, max(MOST, state.spec.seeds)
    base = world.cost(state.trial(0))
    changes = [change for change in world.changes(state.settings) if state.full or change.kind != "longer"]
    whole = state.model_copy(update={"full": True})
    dearest = max(
        (world.cost(whole.trial(0, change)) for change in changes), default=world.cost(whole.trial(0))
    )
    return Forecast(
        budget=state.budget,
        lines=(
            _line("baseline, over seeds", base, seeds, most),
            *(_probe_line(change, world.cost(state.trial(0, change)), seeds) for change in changes),
            _line("confirmation, with other seeds", dearest, seeds, seeds),
        ),
    )


def _probe_line(change: Change, cost: float, seeds: int) -> Line:
    expected = 1 + KEPT * (seeds - 1)
    return Line(
        what=f"probe: {change.name}",
        expected=expected,
        expected_hours=expected * cost,
        worst=MOST,
        worst_hours=MOST * cost,
    )


def _line(what: str, cost: float, expected: int, worst: int) -> Line:
    return Line(
        what=what, expected=expected, expected_hours=expected * cost, worst=worst, worst_hours=worst * cost
    )


def forecast_text(found: Forecast, price: float | None) -> str:
    """A table for people. `price` is of a GPU-hour; None where the fleet has none."""
    rows: Sequence[Line] = found.lines
    width = max(len(line.what) for line in rows)
    money = "" if price is None else "     money"
    lines = [f"{'a round':{width}}  trainings    GPU-hours   at worst{money}"]
    for line in rows:
        paid = "" if price is None else f"{line.expected_hours * price:10,.0f}"
        lines.append(
            f"{line.what:{width}}  {line.expected:9.3g}  {_hours(line.expected_hours)}{_hours(line.worst_hours)}{paid}"
        )
    trainings = sum(line.expected for line in rows)
    paid = "" if price is None else f"{found.expected_hours * price:10,.0f}"
    lines.append(
        f"{'in all, within the budget':{width}}  {trainings:9.3g}  {_hours(found.expected_hours)}"
        f"{_hours(found.worst_hours)}{paid}"
    )
    lines.append(
        f"budget: {found.budget:g} GPU-hours (worker-hours without GPUs); rounds go on until the target is met, or "
        "nothing counts"
    )
    whole = sum(line.expected_hours for line in rows)
    if whole > found.budget:
        lines.append(
            f"the budget ends within this round, which would take about {_hours(whole).strip()} GPU-hours"
        )
    if price is None:
        lines.append("money: unknown, the fleet has no node_price_per_hour")
    return "\n".join(lines)


def _hours(number: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{number:11,.0f}" if number >= 100 else f"{number:11.3g}"
