"""Answers to a proposal: what may be said, and what `--auto` says."""

from raytrain.errors import UsageError, nearest
from raytrain.recipe import Recipe
from raytrain.settings import change, parse, paths, tree_of
from tuning.method.rows import Accept, Answer, Answered, Force, Freeze, Pin, Proposal, Reject
from tuning.method.state import OUTSIDE, MethodState
from tuning.method.values import Change
from tuning.method.world import World


def accepting(proposal: Proposal, state: MethodState, world: World) -> Answered:  # noqa: ARG001
    """Accept. Where the data are worst, which no loop can change, the best change that counts is made instead."""
    if proposal.verdict.cause in ("data", "labels"):
        counting = [
            effect for effect in proposal.alternatives if effect.counts and effect.n >= state.spec.seeds
        ]
        if counting:
            return Answered(answer=Force(change=counting[0].change), by="auto")
    return Answered(answer=Accept(), by="auto")


def checked(answer: Answer, proposal: Proposal | None, state: MethodState) -> Answer:
    """The answer, if it can be given now. Raises UsageError where it contradicts what was said before."""
    match answer:
        case Pin():
            return _pin(answer, state)
        case Force() if pinned := [path for path in answer.change.settings if path in state.pinned]:
            raise UsageError(f"--force {answer.change.name}: it changes {', '.join(pinned)}, which is pinned")
        case Accept() | Reject() | Force() if proposal is None:
            raise UsageError(
                f"--{answer.kind}: nothing is proposed now; the same command without it goes on to the next proposal"
            )
        case Reject() if proposal is not None and proposal.verdict.cause in ("floor", "inconclusive"):
            raise UsageError(
                f"--reject: the verdict is '{proposal.verdict.cause}', and no other change is left that counts; "
                "--force NAME makes one nevertheless, --accept ends the study"
            )
        case _:
            return answer


def known(answer: Answer, state: MethodState) -> bool:
    """Whether it is so already: the same command goes on after a kill, and says it again."""
    match answer:
        case Pin():
            held = {path: state.settings.get(path) for path in answer.settings}
            return answer.path in state.pinned and answer.settings == held
        case Freeze():
            return state.frozen
        case _:
            return False


def named_change(name: str, state: MethodState, world: World) -> Change:
    """The change of that name among those that the world has. Raises UsageError, suggesting the nearest."""
    offered = [one for one in world.changes(state.settings) if one.kind not in OUTSIDE]
    for one in offered:
        if name in (one.name, one.kind):
            return one
    names = [one.name for one in offered]
    others = nearest(name, names) or f"; there are: {', '.join(names)}"
    raise UsageError(f"--force {name}: there is no such change{others}")


def parse_pin(text: str, recipe: Recipe) -> Pin:
    """PATH, as it is, or PATH=VALUE. Raises UsageError for a path that the recipe has not, or a value it refuses."""
    settings = parse([text]) if "=" in text else {}
    path = next(iter(settings), text)
    known = list(paths(tree_of(recipe)))
    if path not in known:
        raise UsageError(f"--pin {path}: recipe '{recipe.name}' has no such field{nearest(path, known)}")
    change(recipe, settings)
    return Pin(path=path, settings=settings)


def _pin(pin: Pin, state: MethodState) -> Pin:
    held = {pin.path: state.settings[pin.path]} if pin.path in state.settings else {}
    if pin.path in state.pinned and pin.settings and pin.settings != held:
        value = f"to {held[pin.path]}" if held else "as the recipe has it"
        raise UsageError(f"--pin {pin.path}={pin.settings[pin.path]}: it is pinned {value} already")
    return pin
