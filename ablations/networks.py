"""A trained network of a study, with the weights that its record keeps.

Whoever only reads a study needs none of this. It is the one way of reading that builds a network, and so imports and
calls the factory that the manifest names where that is code of the user's own: load networks of studies that you trust.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from ablations.record import ArmEntry, loads_weights
from ablations.sealed import DamagedRecord
from ablations.store import Store
from ablations.text import quoted
from cnnkit.errors import UserError
from cnnkit.model import build
from cnnkit.search_paths import add_search_paths
from cnnkit.sources import source_of
from cnnkit.spec import ConvNetSpec, ModuleSpec, one_sentence
from cnnkit.weights import from_bytes


class ChangedCode(UserWarning):
    """A network of the user's own is built by other code than it was trained with."""


def load_network(
    root: Path | str, study: str, arm: str, seed: int, *, search_paths: Sequence[Path | str] = ()
) -> tuple[nn.Module, ArmEntry]:
    """The network of a finished cell as its last epoch left it, on the CPU and in eval mode, and what its arm is.

        network, arm = load_network("results", "depth-quick", "6 blocks", seed=0)

    A network of the user's own is built by their code, which is imported and called for it. A warning says so where that
    code has changed since the cell was trained.

    Args: root: the results folder. study: the study's name, as its folder is called. search_paths: folders of the user's own
        modules.
    Raises: UserError: there is no such study, arm or seed; the cell is not finished, is damaged or kept no weights; or the
        network cannot be built.
    """
    store = Store(Path(root))
    manifest = store.study(study)
    if manifest is None:
        raise UserError(f"{root} has no study {study!r}; it has {', '.join(store.studies()) or 'none'}")
    entry = next((entry for entry in manifest.arms if entry.name == arm), None)
    if entry is None:
        raise UserError(
            f"study {study} has no arm {arm!r}; it has {', '.join(quoted(entry.name) for entry in manifest.arms)}"
        )
    key = next((cell.key for cell in manifest.cells if (cell.arm, cell.seed) == (arm, seed)), None)
    if key is None:
        seeds = sorted(cell.seed for cell in manifest.cells if cell.arm == arm)
        raise UserError(f"study {study} has no seed {seed} of {arm!r}; it has {', '.join(map(str, seeds)) or 'none'}")
    weights = kept_weights(store, key, f"{arm}, seed {seed}")
    add_search_paths([str(Path(path).resolve()) for path in search_paths])
    return network_of(entry, weights), entry


def network_of(arm: ArmEntry, weights: bytes) -> nn.Module:
    """The arm's network with these weights, on the CPU and in eval mode.

    Raises: UserError: it cannot be built, or the weights are another network's.
    """
    network = build(spec_of(arm))
    from_bytes(network, weights)
    return network.eval()


def untrained_network(arm: ArmEntry, seed: int) -> nn.Module:
    """The arm's network as it was before its training under this seed, on the CPU and in eval mode.

    Raises: UserError: it cannot be built, or begins with weights that were trained elsewhere.
    """
    if loads_weights(arm.spec):
        raise UserError(f"arm {arm.name!r} begins with pretrained weights, so it has no random ones to compare with")
    return build(spec_of(arm), seed=seed).eval()


def kept_weights(store: Store, key: str, name: str) -> bytes:
    """The weights that a finished cell's record keeps. Args: name: what the cell is called in an error's sentence.

    Raises: UserError: the cell is not finished, is damaged or kept no weights.
    """
    try:
        record = store.sound(key)
        if record is None:
            raise UserError(f"{name} is not finished; run the study's command again")
        if "weights.safetensors" not in record.files or not (store.cell_folder(key) / "weights.safetensors").exists():
            raise UserError(f"{name} has no weights: they were not kept, or have been pruned since")
        return store.weights(record)
    except DamagedRecord as error:
        raise UserError(f"{error}; run the study's command again, which trains the cell anew") from error


def spec_of(arm: ArmEntry) -> ConvNetSpec | ModuleSpec:
    """The arm's network as this version can build it. Warns where the code of a network of the user's own has changed.

    Raises: UserError: this version cannot build it.
    """
    try:
        if "factory" not in arm.spec:
            return ConvNetSpec.model_validate(arm.spec)
        spec = ModuleSpec.model_validate(arm.spec).vary(weights="", pretrained=False)  # those it was trained to follow
    except ValidationError as error:
        raise UserError(
            f"arm {arm.name!r} is not a network that this version can build: {one_sentence(error)}"
        ) from error
    if source_of(spec) != spec.source:
        warnings.warn(
            f"the code of {spec.factory} is not the code that arm {arm.name!r} was trained with; what it computes may differ",
            ChangedCode,
            stacklevel=4,
        )
        return spec.vary(source="")  # which `build` would refuse
    return spec
