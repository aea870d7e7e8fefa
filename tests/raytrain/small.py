"""Every network's class at a size that a CPU trains in a moment: fewer blocks and channels, the same parts."""

from raytrain.models.named import named_specs
from raytrain.models.spec import Spec
from raytrain.recipes.twins import small


def smalls() -> dict[str, tuple[Spec, int]]:
    """By the name of the first network that shrinks to each."""
    found = dict[str, tuple[Spec, int]]()
    for name, spec in named_specs().items():
        shrunk = small(spec.model_copy(update={"drop_path": 0.0}))
        if shrunk not in found.values():
            found[name] = shrunk
    return found
