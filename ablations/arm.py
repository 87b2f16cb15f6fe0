"""An arm: one configuration of an ablation, and the factor levels that it stands for. Imports pydantic only."""

from typing import Any

from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec, Spec

Level = str | bool | int | float


class Arm(Spec):
    """A named network and the way it is trained."""

    name: str
    """What tables and figures call it."""
    spec: ConvNetSpec | ModuleSpec = ConvNetSpec()
    """The network: a spec of ours, or a callable of the user's own."""
    recipe: Recipe = Recipe()
    """How it is trained."""
    levels: dict[str, Level] = {}
    """The level of each factor of the grid."""
    is_baseline: bool = False
    """Whether the other arms of the grid are compared with this one."""

    @property
    def convnet(self) -> ConvNetSpec:
        """The network's spec, of which the built-in grids vary the fields.

        Raises: UserError: the network is a callable of the user's own.
        """
        if isinstance(self.spec, ModuleSpec):
            raise UserError(f"{self.name!r} is built by {self.spec.factory}; this grid varies fields of a ConvNetSpec")
        return self.spec

    def variant(
        self, name: str, levels: dict[str, Level], *, recipe: dict[str, Any] | None = None, **spec: Any
    ) -> "Arm":
        """An arm that differs in the given fields of the spec and of the recipe, validated again.

        It is the baseline itself where nothing differs in the end.

        Raises: ValidationError: the arm cannot be built or trained.
        """
        return self._beside(name, levels, self.spec.vary(**spec), recipe)

    def replaced(
        self,
        name: str,
        levels: dict[str, Level],
        factory: str,
        arguments: dict[str, Any] | None = None,
        *,
        recipe: dict[str, Any] | None = None,
    ) -> "Arm":
        """An arm with another network: what `factory` builds (MODULE:FUNCTION, or a timm name), trained like this arm.

        Raises: ValidationError: a field is ill-typed. Whether the network can be built is seen when the study is planned.
        """
        spec = ModuleSpec(
            factory=factory,
            arguments=arguments or {},
            image_size=self.spec.image_size,
            in_channels=self.spec.in_channels,
            num_classes=self.spec.num_classes,
        )
        return self._beside(name, levels, spec, recipe)

    def changes_from(self, other: "Arm") -> dict[str, Any]:
        """The fields that differ from another arm's, with this arm's values: those of the spec, and of the recipe without
        its name (`epochs`, `augmentation.flip`). Of a network of the user's own, its factory and arguments.
        """
        mine, its = self._fields(), other._fields()
        return {field: value for field, value in mine.items() if field not in its or its[field] != value}

    def _fields(self) -> dict[str, Any]:
        recipe = self.recipe.model_dump(mode="json", exclude={"augmentation"})
        augmentation = self.recipe.augmentation.model_dump(mode="json")
        dotted = {f"augmentation.{field}": value for field, value in augmentation.items()}
        return {**self.spec.model_dump(mode="json", exclude={"source"}), **recipe, **dotted}

    def _beside(
        self, name: str, levels: dict[str, Level], spec: ConvNetSpec | ModuleSpec, recipe: dict[str, Any] | None
    ) -> "Arm":
        arm = Arm(name=name, spec=spec, recipe=self.recipe.vary(**(recipe or {})), levels=levels)
        same = self.is_baseline and (arm.spec, arm.recipe) == (self.spec, self.recipe)
        return arm.model_copy(update={"is_baseline": same})
