"""An arm: one configuration of an ablation, and the factor levels that it stands for. Imports pydantic only."""

from typing import Any

from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, Spec

Level = str | bool | int | float


class Arm(Spec):
    """A named network and the way it is trained."""

    name: str
    """What tables and figures call it."""
    spec: ConvNetSpec = ConvNetSpec()
    """The network."""
    recipe: Recipe = Recipe()
    """How it is trained."""
    levels: dict[str, Level] = {}
    """The level of each factor of the grid."""
    is_baseline: bool = False
    """Whether the other arms of the grid are compared with this one."""

    def variant(self, name: str, levels: dict[str, Level], *, recipe: dict[str, Any] | None = None, **spec: Any) -> "Arm":
        """An arm that differs in the given fields of the spec and of the recipe, validated again.

        It is the baseline itself where nothing differs in the end.

        Raises: ValidationError: the arm cannot be built or trained.
        """
        arm = Arm(
            name=name, spec=self.spec.vary(**spec), recipe=self.recipe.vary(**(recipe or {})), levels=levels
        )
        same = (arm.spec, arm.recipe) == (self.spec, self.recipe)
        return arm.model_copy(update={"is_baseline": same})
