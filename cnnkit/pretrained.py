"""Weights that a network starts from: a file of the user's own, or what timm or torchvision publish for an architecture.

A planned study knows weights by a hash of their tensors, whatever file they lie in and wherever that is; so the same weights are
the same cell. The process that plans reads them; others, perhaps on another machine, are given them (`provide`).
"""

import functools
import hashlib
import os
import pickle
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cnnkit.errors import UserError, brief
from cnnkit.heads import last_layer
from cnnkit.module import TORCHVISION, foreign_code, restored
from cnnkit.search_paths import beside
from cnnkit.spec import ModuleSpec, Normalisation
from cnnkit.weights import with_versions

HASHED = "hash:"
"""What stands before a hash in `ModuleSpec.weights`, where a file's name was."""
PATIENCE = 10.0
"""Seconds within which the host of published weights has to answer."""
WRAPPED = ("state_dict", "model_state_dict", "model", "net")
"""Under which names training loops keep the state dict in their checkpoints."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Start:
    """Weights that have been read."""

    name: str
    """Of the file, or of the architecture and its library: for people."""
    hash: str
    """32 hexadecimal digits."""
    normalisation: Normalisation | None
    """Of the input, as the weights want it; None where that is not known."""


@dataclass(frozen=True)
class _Content:
    name: str
    safetensors: bytes


_provided: dict[str, _Content] = {}
"""By hash."""


def provide(contents: Mapping[str, tuple[str, bytes]]) -> None:
    """Gives this process weights: by hash their name and their safetensors."""
    _provided.update({key: _Content(*content) for key, content in contents.items()})


def contents(specs: Iterable[object]) -> dict[str, tuple[str, bytes]]:
    """The weights that planned networks start from, as `provide` takes them."""
    hashes = dict.fromkeys(spec.weights for spec in specs if isinstance(spec, ModuleSpec) and spec.weights)
    found = {each.removeprefix(HASHED): _provided[each.removeprefix(HASHED)] for each in hashes}
    return {key: (content.name, content.safetensors) for key, content in found.items()}


def resolved(spec: ModuleSpec) -> ModuleSpec:
    """The spec with the hash of the weights that it names, and with the normalisation that they want.

    Raises: UserError: they cannot be read or fetched.
    """
    # Asked for among the arguments, they would be fetched by each trial, and no key would tell which ones.
    asked = next((name for name in ("pretrained", "weights", "weights_backbone") if spec.arguments.get(name)), None)
    if asked and (":" not in spec.factory or spec.factory.startswith(TORCHVISION)):
        raise UserError(
            f"{spec.factory}: give `pretrained: true` beside the factory instead of {asked} among its arguments"
        )
    if not (spec.pretrained or spec.weights) or spec.weights.startswith(HASHED):
        return spec
    start = _published(spec.vary(source="").model_dump_json()) if spec.pretrained else _of_file(spec)
    normalisation = spec.normalisation or start.normalisation
    return spec.vary(pretrained=False, weights=HASHED + start.hash, normalisation=normalisation)


def load_into(model: nn.Module, spec: ModuleSpec, inputs: Tensor) -> str:
    """Gives the network the weights that its spec names, all but a last layer for other classes, which stays as it is.

    Returns: what was done, in a phrase: the weights' name, and what became of the last layer.
    Raises: UserError: they are not here, or of another network.
    """
    content = _provided.get(spec.weights.removeprefix(HASHED))
    if content is None:
        raise UserError(
            f"the weights {spec.weights} that {spec.factory} starts from are not here; plan the study again"
        )
    state, own = load(content.safetensors), model.state_dict()
    others = [name for name in own if not _same_shape(own[name], state.get(name)) and not name.endswith("_tracked")]
    unknown = [name for name in state if name not in own]
    remark = "its last layer with them"
    if others and not unknown:
        head = f"{last_layer(model, inputs)}."
        if all(name.startswith(head) for name in others):
            classes = [len(state[name]) for name in others if name in state]
            remark = f"its last layer of {classes[0]:,} classes made anew" if classes else "its last layer new"
            state = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
            others = []
    if others or unknown:
        raise UserError(
            f"the weights {content.name} do not fit {spec.factory}: {_difference(own, state, others, unknown)}"
        )
    model.load_state_dict(with_versions(state, model), strict=False)
    return f"{content.name}, {remark}"


def _same_shape(one: Any, other: Tensor | None) -> bool:
    return not isinstance(one, Tensor) or (other is not None and one.shape == other.shape)


def _difference(own: Mapping[str, Any], state: State, others: list[str], unknown: list[str]) -> str:
    missing = [name for name in others if name not in state]
    resized = [name for name in others if name in state]
    parts = []
    if missing:
        parts.append(f"they have no {_first(missing)}")
    if unknown:
        parts.append(f"the network has no {_first(unknown)}")
    if resized:
        shapes = "x".join(map(str, state[resized[0]].shape)), "x".join(map(str, own[resized[0]].shape))
        more = f" (and {len(resized) - 1} more differ)" if len(resized) > 1 else ""
        parts.append(f"{resized[0]!r} is {shapes[0] or 'a number'} there and {shapes[1] or 'a number'} here{more}")
    return ", ".join(parts)


def _first(names: list[str]) -> str:
    return repr(names[0]) + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


# -- from a file


def _of_file(spec: ModuleSpec) -> Start:
    file = beside(spec.weights)
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"weights: no file at {spec.weights}") from error
    name, key = _read_once(file, status.st_mtime_ns, status.st_size)
    return Start(name, key, _wanted(spec))


@functools.lru_cache(maxsize=64)
def _read_once(file: Path, changed: int, size: int) -> tuple[str, str]:
    return file.name, _registered(file.name, _read(file))


def _registered(name: str, state: State) -> str:
    """Keeps the weights for the networks to come. Returns their hash."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    plain = {key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    _provided[digest.hexdigest()] = _Content(name, save(plain))
    return digest.hexdigest()


def _read(file: Path) -> State:
    """The tensors of a file by name.

    Raises: UserError: it is no file of weights, or holds objects that running code would have to make.
    """
    if not file.is_file():
        raise UserError(f"weights: {file} is no regular file")
    try:
        if file.suffix == ".safetensors":
            return _unwrapped(file, load(file.read_bytes()))
        return _unwrapped(file, torch.load(file, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights: {file} holds more than tensors, or is damaged; save the network's state_dict() or safetensors"
        ) from error
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise UserError(f"weights: {file} cannot be read ({brief(error)})") from error


def _unwrapped(file: Path, content: Any) -> State:
    """The state dict of a checkpoint, its names without what wrappers put before them."""
    inner = next(
        (content[key] for key in WRAPPED if isinstance(content, dict) and isinstance(content.get(key), dict)), None
    )
    content = content if inner is None else inner
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not state:
        raise UserError(f"weights: {file} holds no tensors by name; save the network's state_dict()")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


# -- published ones


@functools.lru_cache(maxsize=16)
def _published(spec_json: str) -> Start:
    spec = ModuleSpec.model_validate_json(spec_json)
    if spec.factory.startswith(TORCHVISION):
        name, state = _of_torchvision(spec)
    elif ":" not in spec.factory:
        name, state = _of_timm(spec)
    else:
        raise UserError(f"{spec.factory}: timm and torchvision publish weights of their own models; give weights: FILE")
    return Start(name, _registered(name, state), _wanted(spec))


def _of_timm(spec: ModuleSpec) -> tuple[str, State]:
    import timm

    config = timm.get_pretrained_cfg(spec.factory)
    if config is None or not config.has_weights:
        raise UserError(f"{spec.factory}: timm publishes no weights of this model; give weights: FILE")
    name = f"{config.architecture or spec.factory}{'.' if config.tag else ''}{config.tag or ''}"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if config.file is None and not _is_here(config):
        _check_answers(config.url if not config.hf_hub_id else endpoint, name)
    arguments = {key: value for key, value in restored(spec.arguments).items() if key != "num_classes"}
    with foreign_code(f"the weights of {name} cannot be fetched:"), _Impatient():
        model = timm.create_model(spec.factory, pretrained=True, in_chans=spec.in_channels, **arguments)
    return f"{name} of timm", model.state_dict()


def _is_here(config: Any) -> bool:
    """Whether the weights lie in Hugging Face's or torch's cache already."""
    if config.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        return any(isinstance(try_to_load_from_cache(config.hf_hub_id, name), str) for name in names)
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url or "/").name).is_file()


def _of_torchvision(spec: ModuleSpec) -> tuple[str, State]:
    from torchvision.models import get_model_weights

    model = spec.factory.removeprefix(TORCHVISION)
    try:
        weights = get_model_weights(model).DEFAULT
    except (ValueError, AttributeError) as error:
        raise UserError(f"{spec.factory}: torchvision publishes no weights of it; give weights: FILE") from error
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).is_file():
        _check_answers(weights.url, model)
    with foreign_code(f"the weights of {model} cannot be fetched:"), _Impatient():
        state = weights.get_state_dict(progress=False, check_hash=True)
    return f"{model} {weights.name} of torchvision", state


def _wanted(spec: ModuleSpec) -> Normalisation | None:
    """What the architecture's published weights were trained with: of timm's and torchvision's models it is known."""
    if ":" not in spec.factory:
        import timm

        config = timm.get_pretrained_cfg(spec.factory)
        mean, std = (config.mean, config.std) if config is not None else ((), ())
    elif spec.factory.startswith(TORCHVISION):
        from torchvision.models import get_model_weights

        try:
            preset = get_model_weights(spec.factory.removeprefix(TORCHVISION)).DEFAULT.transforms()
        except (ValueError, AttributeError):
            return None
        mean, std = preset.mean, preset.std
    else:
        return None
    if spec.in_channels == 1 and len(mean) == 3:  # as timm makes one channel's weights of three channels'
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Normalisation(mean=tuple(mean), std=tuple(std)) if len(mean) == spec.in_channels else None


class _Impatient:
    """A connection that stalls half-way is given up, too."""

    def __enter__(self) -> None:
        self.before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE)

    def __exit__(self, *_: object) -> None:
        socket.setdefaulttimeout(self.before)


def _check_answers(url: str, name: str) -> None:
    """Raises: UserError: the host does not answer within `PATIENCE` seconds, looking up its name and proxies included."""
    answered: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            answered.append(True)
        except urllib.error.HTTPError:  # an answer all the same
            answered.append(True)
        except (OSError, ValueError):
            pass

    # A name look-up knows no time-out of its own, so the wait for the thread is the bound.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not answered:
        host = url.partition("://")[2].partition("/")[0]
        raise UserError(
            f"the weights of {name} are not in the cache, and {host} does not answer; give weights: FILE, or fetch them where "
            f"there is a network"
        )
