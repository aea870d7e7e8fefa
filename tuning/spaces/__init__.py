"""Ready spaces, found by name; and every way to ask for one: a name, a file, or `PATH=RANGE` on the command line."""

from collections.abc import Callable, Sequence
from importlib import import_module

from raytrain.errors import UsageError, nearest
from raytrain.plan import RunPlan
from raytrain.recipe import Recipe
from tuning.space import Space
from tuning.spaces.prior import Regime, regime

_WHERE = {
    # name: its module, and the family of networks that it is for
    "swin_regularization": ("swin", "swin"),
    "swin_capacity": ("swin", "swin"),
    "swin_shape": ("swin", "swin"),
    "swin_smoke": ("swin", "swin"),
    "cbam_regularization": ("cbam", "resnet"),
    "cbam_capacity": ("cbam", "resnet"),
    "cbam_attention": ("cbam", "resnet"),
    "cbam_smoke": ("cbam", "resnet"),
}


def names(family: str | None = None) -> list[str]:
    """Every ready space's name, or those for a family of networks."""
    return [name for name, (_, whose) in _WHERE.items() if family in (None, whose)]


def summary(name: str) -> str:
    """What it is for, in a sentence or two."""
    return str(_function(name).__doc__)


def space(name: str, recipe: Recipe, kind: Regime) -> Space:
    """The ready space of that name, for this recipe and amount of data.

    Raises UsageError for an unknown name, and for a recipe of another family.
    """
    if name not in _WHERE:
        raise UsageError(f"unknown space '{name}'{nearest(name, _WHERE)}. All: raytrain tune --list-spaces")
    family = _WHERE[name][1]
    if recipe.model.family != family:
        ready = names(recipe.model.family)
        raise UsageError(
            f"space '{name}' is for {family} networks and recipe '{recipe.name}' is a {recipe.model.family}; "
            + (f"for that: {', '.join(ready)}" if ready else "write one of your own (docs/spaces.md)")
        )
    try:
        return _function(name)(recipe, kind)
    except UsageError as error:
        raise UsageError(f"space '{name}': {error}") from None


def asked_space(texts: Sequence[str], plan: RunPlan) -> Space:
    """What `--space` options ask for: one name, one .yaml file, or any number of PATH=RANGE; without any, the default.

    Raises UsageError where they are mixed, unknown, or not of this recipe.
    """
    from tuning.spaces.read import default_space, parse_space, read_space

    if not texts:
        return default_space(plan.recipe)
    if all("=" in text for text in texts):
        return parse_space(texts, plan.recipe)
    if len(texts) > 1:
        raise UsageError(
            f"--space {' --space '.join(texts)}: give one name, or one .yaml file, or PATH=RANGE alone"
        )
    if texts[0].endswith((".yaml", ".yml")):
        return read_space(texts[0], plan.recipe)
    return space(texts[0], plan.recipe, regime(plan.data.train_samples, fine_tune=plan.init is not None))


def _function(name: str) -> Callable[[Recipe, Regime], Space]:
    found: Callable[[Recipe, Regime], Space] = getattr(
        import_module(f"tuning.spaces.{_WHERE[name][0]}"), name
    )
    return found
