"""Parts of a baseline that grids vary, whoever built it: fields of a spec of ours, or arguments of a function of the user's own.

An argument is taken for a part by its name. Imports pydantic only.
"""

from typing import Any

from ablations.arm import Arm
from cnnkit.errors import UserError
from cnnkit.spec import ConvNetSpec

CALLED = {
    "batch_norm": ("batch_norm", "batchnorm", "use_batch_norm", "use_batchnorm", "use_bn", "bn"),
    "dropout": ("dropout", "drop_rate", "dropout_rate", "dropout_p", "dropout_prob", "p_dropout", "p_drop", "dropRate"),
}
"""What arguments of functions are called that stand for a field of ours."""
RATES = (*CALLED["dropout"], "drop_path_rate", "drop_path", "stochastic_depth_prob", "attention_dropout", "proj_drop_rate",
    "attn_drop_rate", "pos_drop_rate")  # fmt: skip
"""Arguments that are the probability of something that can be left out by 0."""

NO_PARTS = ("progress", "pretrained", "verbose", "init_weights")
"""Switches that say how a network is made, and not what it is."""


def field_of(baseline: Arm, part: str) -> str:
    """What the baseline calls a field of ours: its own name, or that of the argument that stands for it.

    Raises: UserError: no argument does.
    """
    if isinstance(baseline.spec, ConvNetSpec):
        return part
    from cnnkit.module import taken_by

    taken = taken_by(baseline.spec.factory)
    found = next((name for name in CALLED[part] if name in taken.names or name in baseline.spec.arguments), None)
    if found is None:
        raise UserError(
            f"{baseline.spec.factory} has no argument for {part.replace('_', ' ')} ({', '.join(CALLED[part][:3])}, ...); "
            f"it takes {', '.join(taken.names) or 'none'}"
        )
    return found


def fields_of(baseline: Arm, **parts: Any) -> dict[str, Any]:
    """Values of fields of ours under the baseline's names for them. Raises: UserError: as `field_of`."""
    return {field_of(baseline, part): value for part, value in parts.items()}


def switches(baseline: Arm) -> dict[str, dict[str, Any]]:
    """Of a network of the user's own: each part that its arguments switch on, with the argument that takes it away. Those are the
    arguments that are true, and rates of dropout and the like that are not 0.
    """
    assert not isinstance(baseline.spec, ConvNetSpec)
    from cnnkit.module import taken_by

    taken = taken_by(baseline.spec.factory)
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([*baseline.spec.arguments, *taken.defaults]):
        value = baseline.value(name)
        plain = name.removeprefix("use_").removeprefix("with_").replace("_", " ")
        if value is True and name not in NO_PARTS:
            found[plain] = {name: False}
        elif name in RATES and value:
            found[plain] = {name: 0.0}
    return found
