"""Networks of the user's own, found by name: `MODULE:NAME` of a module beside the grid or an installed one, or a timm model."""

import contextlib
import functools
import inspect
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from cnnkit.errors import UserError, brief
from cnnkit.search_paths import file_of, users_module
from cnnkit.spec import REFERENCE, canonical

Factory = Callable[..., nn.Module]
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

TORCHVISION = "torchvision.models:"
"""What stands before the names of torchvision's models."""
REMOTE = ("hf-hub:", "hf_hub:", "local-dir:")  # timm's prefixes for models that are fetched or read with their weights


@dataclass(frozen=True)
class Found:
    """What a name stands for."""

    name: str
    module: ModuleType
    """The module in which it was found."""
    value: Any


def find_factory(name: str) -> Found:
    """The callable of a `ModuleSpec.factory`, which is not called.

    Raises: UserError: there is no such module, function or timm model (the sentence has the nearest name), or it comes from
        Python's standard library, which builds no networks.
    """
    if name.startswith(REMOTE):
        architecture = name.partition(":")[2].rpartition("/")[2]
        raise UserError(
            f"factory {name!r}: models are not fetched by name; give timm's name of the architecture "
            f"({architecture!r}, say), or a function of your own that loads it"
        )
    if ":" not in name:
        return _timm_factory(name)
    module_name = name.partition(":")[0]
    if _is_pythons(module_name):
        raise UserError(
            f"factory {name!r}: {module_name} is Python's own and builds no networks; give a function of yours"
        )
    found = find_object(name, what="factory")
    if isinstance(found.value, nn.Module):
        raise UserError(f"factory {name!r} is a network already; give the function or class that builds it")
    if not callable(found.value):
        raise UserError(f"factory {name!r}: {type(found.value).__name__} cannot be called; give a function or a class")
    if _comes_from_python(found.value):
        raise UserError(f"factory {name!r} is one of Python's own functions and builds no networks; give one of yours")
    return found


@dataclass(frozen=True)
class Taken:
    """The keyword arguments of a factory."""

    defaults: Mapping[str, Any]
    """Of each argument its default, `inspect.Parameter.empty` where it has none."""
    is_open: bool = False
    """Whether the factory hands on others, too, as timm's and torchvision's do."""
    further: tuple[str, ...] = ()
    """What the class takes to which an open factory hands them on."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.defaults, *self.further]))

    def default(self, name: str) -> Any:
        """As JSON; None where it is not known, or has no such form."""
        value = self.defaults.get(name, inspect.Parameter.empty)
        try:
            return None if value is inspect.Parameter.empty else canonical(value, name)
        except ValueError:
            return None

    def is_default(self, name: str, value: Any) -> bool:
        """Whether an argument, as JSON, is what the factory takes without it."""
        known = name in self.defaults and self.defaults[name] is not inspect.Parameter.empty
        return known and (type(value) is bool) == (type(self.default(name)) is bool) and self.default(name) == value

    def has_not(self, name: str) -> str:
        """The end of the sentence about an argument that the factory does not take."""
        near = get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"takes no argument {name!r}; {hint}it takes {', '.join(self.names) or 'none'}"


def taken_by(name: str) -> Taken:
    """What the callable of a `ModuleSpec.factory` takes. An open one is called once, to see the class that it makes.

    Raises: UserError: it cannot be found.
    """
    return _taken(find_factory(name).value)


@functools.cache
def _taken(factory: Factory) -> Taken:
    parameters = _parameters(factory)
    if parameters is None:
        return Taken({}, is_open=True)
    by_name = {name: parameter.default for name, parameter in parameters.items() if parameter.kind in BY_NAME}
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return Taken(by_name)
    return Taken(by_name, is_open=True, further=_of_its_class(factory))


def _of_its_class(factory: Factory) -> tuple[str, ...]:
    try:
        with foreign_code("it failed with"), torch.random.fork_rng(devices=[]), torch.device("meta"):
            parameters = _parameters(type(factory()))
    except UserError:
        return ()
    return tuple(name for name, parameter in (parameters or {}).items() if parameter.kind in BY_NAME)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of C code, say
        return None


def find_object(name: str, *, what: str) -> Found:
    """The object that MODULE:NAME stands for. Imports the module.

    Args: what: what the sentence calls the name.
    Raises: UserError: it cannot be found.
    """
    module_name, _, path = name.partition(":")
    module = _import(name, module_name, what)
    try:
        return Found(name, module, attrgetter(path)(module))
    except AttributeError:
        raise UserError(f"{what} {name!r}: {module_name} has no function {path!r}") from None


def restored(value: Any) -> Any:
    """A spec's argument with every reference replaced by the class, function or dtype that it names.

    Raises: UserError: there is no such object.
    """
    if isinstance(value, dict):
        if value.keys() == {REFERENCE}:
            return find_object(value[REFERENCE], what="argument").value
        return {key: restored(inner) for key, inner in value.items()}
    return [restored(inner) for inner in value] if isinstance(value, list) else value


def references(value: Any) -> Iterator[str]:
    """The names of all objects to which a spec's argument refers."""
    if isinstance(value, dict):
        if value.keys() == {REFERENCE}:
            yield value[REFERENCE]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@contextlib.contextmanager
def foreign_code(what: str) -> Iterator[None]:
    """Around code of the user's own: what it raises becomes one sentence that begins with `what`, it has no input to wait
    for, what it prints goes to the error stream, and torch's global settings and the current folder are afterwards as they
    were.

    Raises: UserError: the code failed. Ctrl-C passes through.
    """
    dtype, gradients, threads, stdin = (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), sys.stdin,
    )  # fmt: skip
    sys.stdin = io.StringIO()
    try:
        with _folder_kept(), contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code does
        raise UserError(f"{what} {brief(error)}") from error
    finally:
        sys.stdin = stdin
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def _folder_kept() -> Iterator[None]:
    """Networks that change the current folder, to read files beside them, do not move a study's relative paths."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed: there is none to go back to
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.chdir(folder)


def _timm_factory(name: str) -> Found:
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see timm.list_models(), or give MODULE:FUNCTION"
        raise UserError(f"factory {name!r}: timm has no such model; {hint}")
    return Found(name, timm, timm.model_entrypoint(name))


def _import(name: str, module_name: str, what: str) -> ModuleType:
    try:
        with foreign_code(f"{what} {name!r}: importing {module_name} failed with"):
            return users_module(module_name)
    except UserError as error:
        missing = error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or not f"{module_name}.".startswith(f"{missing.name}."):
            raise
        hint = f"put {module_name}.py beside the grid or into the current folder (of a finished study: give its folder by --code)"
        if "/" in module_name or module_name.endswith(".py"):
            hint = f"give the module's name, {Path(module_name).stem}, without its folder and ending"
        raise UserError(f"{what} {name!r}: no module {missing.name!r}; {hint}") from missing


def _is_pythons(module: str) -> bool:
    """Whether it belongs to the standard library, and the user has no module of that name."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names and file_of(top) is None


def _comes_from_python(value: Any) -> bool:
    """Whether a callable, unwrapped from partials and decorators, is a built-in one or the standard library's."""
    while isinstance(value, functools.partial):
        value = value.func
    value = inspect.unwrap(value)
    if inspect.isbuiltin(value):
        return True
    defined = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    module = getattr(defined, "__module__", None)
    return isinstance(module, str) and _is_pythons(module)
