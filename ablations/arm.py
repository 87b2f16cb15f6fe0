"""An arm: one configuration of an ablation, and the factor levels that it stands for. Imports pydantic only."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec, Spec

LONGEST_NAME = 200  # characters
NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that are obeyed and not seen: controls, marks of direction, surrogates, line breaks."""
JOINERS = frozenset("\u200c\u200d")
"""Part of the spelling of Persian and of Indian scripts, and of many emoji."""


def shown(text: str) -> str:
    """`text` as tables show it: letters in their composed form, without blanks around it.

    Raises: ValueError: nothing of it can be seen, or something in it would disturb what stands beside it.
    """
    text = unicodedata.normalize("NFC", text).strip()
    hidden = next((char for char in text if unicodedata.category(char) in NOT_SHOWN and char not in JOINERS), None)
    if hidden is not None:
        raise ValueError(f"character U+{ord(hidden):04X} cannot be shown in a table")
    if all(char in JOINERS or unicodedata.category(char)[0] in "ZM" for char in text):
        raise ValueError("a name needs something that can be seen")
    return text


def _name(text: str) -> str:
    text = shown(text)
    if len(text) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters, this one {len(text)}")
    return text


def alike(name: str) -> str:
    """What names that readers could take for one another have in common: all but blanks, case and forms of letters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in folded if not char.isspace() and char not in JOINERS)


def _plain(value: Any) -> Any:
    """A level as Python's own type, where it is one of numpy's, and text as it is shown."""
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a level must be a finite number, got {value}")
    return shown(value) if isinstance(value, str) else value


ArmName = Annotated[str, AfterValidator(_name)]
Level = Annotated[str | bool | int | float, BeforeValidator(_plain)]
Factor = Annotated[str, AfterValidator(shown)]
StoredLevel = str | bool | int | float
"""A `Level` as it is read back, whatever a level was allowed to be when it was written."""


class Arm(Spec):
    """A named network and the way it is trained."""

    name: ArmName
    """What tables and figures call it, in any script; at most 200 characters."""
    spec: ConvNetSpec | ModuleSpec = ConvNetSpec()
    """The network: a spec of ours, or a callable of the user's own."""
    recipe: Recipe = Recipe()
    """How it is trained."""
    levels: dict[Factor, Level] = {}
    """The level of each factor of the grid."""
    is_baseline: bool = False
    """Whether the other arms of the grid are compared with this one."""
    start: str = ""
    """What the weights are called that the network starts from, and what became of its last layer; empty where it starts from
    random ones. Filled in when a study is planned."""

    @property
    def convnet(self) -> ConvNetSpec:
        """The network's spec, of which the built-in grids vary the fields.

        Raises: UserError: the network is a callable of the user's own.
        """
        if isinstance(self.spec, ModuleSpec):
            raise UserError(
                f"{self.name!r} is built by {self.spec.factory}, and this grid varies what only the built-in network has, such "
                f"as its blocks; vary the arguments of {self.spec.factory} in a grid file of your own"
            )
        return self.spec

    def variant(
        self, name: str, levels: dict[str, Level], *, recipe: dict[str, Any] | None = None, **spec: Any
    ) -> "Arm":
        """An arm that differs in the given fields of the spec and of the recipe, validated again. Where the network is built by a
        callable of the user's own, its keyword arguments are fields like the spec's; `arguments={...}` takes those that are
        called as a field of the spec is.

        It is the baseline itself where nothing differs in the end.

        Raises: ValidationError: the arm cannot be built or trained. UserError: the callable takes no such argument.
        """
        varied = self.spec.vary(**spec) if isinstance(self.spec, ConvNetSpec) else self._with_arguments(self.spec, spec)
        return self._beside(name, levels, varied, recipe)

    def _with_arguments(self, spec: ModuleSpec, changes: Mapping[str, Any]) -> ModuleSpec:
        """The spec with other fields and arguments; an argument that gets the value that it has anyway is left as it is."""
        fields = {name: value for name, value in changes.items() if name in ModuleSpec.model_fields}
        given = {name: value for name, value in changes.items() if name not in fields} | fields.pop("arguments", {})
        spec = spec.vary(**fields)
        if not given:
            return spec
        from cnnkit.module import taken_by

        taken = taken_by(spec.factory)
        for name in given:
            if name not in taken.names and not taken.is_open:
                raise UserError(f"{self.name!r}: {spec.factory} {taken.has_not(name)}")
        wanted = spec.vary(arguments={**spec.arguments, **given}).arguments  # as JSON
        changed = {
            name: value for name, value in wanted.items() if name in spec.arguments or not taken.is_default(name, value)
        }
        return spec.vary(arguments=changed)

    def value(self, field: str) -> Any:
        """What the network has of a field of its spec or, where a callable of the user's own builds it, of an argument.

        Raises: UserError: the callable takes no such argument.
        """
        if isinstance(self.spec, ConvNetSpec):
            return getattr(self.spec, field)
        if field in self.spec.arguments:
            return self.spec.arguments[field]
        from cnnkit.module import taken_by

        taken = taken_by(self.spec.factory)
        if field not in taken.names:
            raise UserError(f"{self.name!r}: {self.spec.factory} {taken.has_not(field)}")
        return taken.default(field)

    def as_baseline(self) -> "Arm":
        """The same arm as the one that the others are compared with."""
        return self.model_copy(update={"is_baseline": True})

    def replaced(
        self,
        name: str,
        levels: dict[str, Level],
        factory: str,
        arguments: dict[str, Any] | None = None,
        *,
        recipe: dict[str, Any] | None = None,
        **spec: Any,
    ) -> "Arm":
        """An arm with another network: what `factory` builds (MODULE:FUNCTION, timm:NAME or torchvision:NAME), trained like this
        arm on images of the same size. `spec`: other fields of a `ModuleSpec`, such as `pretrained` or `weights`.

        Raises: ValidationError: a field is ill-typed. Whether the network can be built is seen when the study is planned.
        """
        shape = {name: getattr(self.spec, name) for name in ("image_size", "in_channels", "num_classes")}
        module = ModuleSpec.model_validate({**shape, **spec, "factory": factory, "arguments": arguments or {}})
        return self._beside(name, levels, module, recipe)

    def changes_from(self, other: "Arm") -> dict[str, Any]:
        """The fields that differ from another arm's, with this arm's values: those of the spec, and of the recipe without
        its name (`epochs`, `augmentation.flip`). Of a network of the user's own, its factory and arguments
        (`arguments.width`), and what its weights are called.
        """
        mine, its = (
            {
                **flat_fields(arm.spec.model_dump(mode="json"), arm.recipe.model_dump(mode="json")),
                **({"weights": arm.start} if arm.start else {}),
            }
            for arm in (self, other)
        )
        return differing(mine, its)

    def _beside(
        self, name: str, levels: dict[str, Level], spec: ConvNetSpec | ModuleSpec, recipe: dict[str, Any] | None
    ) -> "Arm":
        arm = Arm(name=name, spec=spec, recipe=self.recipe.vary(**(recipe or {})), levels=levels)
        same = self.is_baseline and (arm.spec, arm.recipe) == (self.spec, self.recipe)
        return arm.model_copy(update={"is_baseline": same})


def flat_fields(spec: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of an arm's spec and recipe, given as JSON, under one name each; hashes of code and weights are left out, and
    how images are normalised for these.
    """
    inner = {
        f"{group}.{field}": value
        for group, fields in (("augmentation", recipe), ("arguments", spec))
        for field, value in (fields.get(group) or {}).items()
    }
    together = {**spec, **recipe, **inner}
    left_out = {*NO_FIELDS_OF_THEIR_OWN, *(("initialise",) if spec.get("initialise") == "as_coded" else ())}
    return {field: value for field, value in together.items() if field not in left_out}


NO_FIELDS_OF_THEIR_OWN = ("source", "weights", "pretrained", "normalisation", "arguments", "augmentation")


def differing(fields: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `fields` that `others` has not, or has with another value."""
    return {field: value for field, value in fields.items() if field not in others or others[field] != value}
