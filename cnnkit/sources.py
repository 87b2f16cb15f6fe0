"""The source code that makes a network of the user's own what it is, as one hash.

The code is read, not traced: which modules a file imports, anywhere in it, stands in its text. So the hash is the same in
every process, whatever was imported before and whether a branch was run. Where a file imports a name that it computes, all
modules of its folder count.
"""

import ast
import functools
import hashlib
import importlib
import importlib.util
import inspect
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from importlib.machinery import ModuleSpec as ImportSpec
from pathlib import Path

from cnnkit.errors import UserError
from cnnkit.module import Found, find_factory, find_object, references
from cnnkit.search_paths import OUR_PACKAGES, own_name
from cnnkit.spec import ModuleSpec

IMPORTERS = frozenset(
    {"__import__", "import_module", "spec_from_file_location", "SourceFileLoader", "run_path", "run_module", "exec"}
)
"""Functions that load code whose name they are given."""

LOADERS = ((SourceFileLoader, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))

_hashed: dict[str, tuple[Path, str]] = {}
"""The file and the file's hash of every module of the user's that counted so far, by the module's name."""


def source_of(spec: ModuleSpec) -> str:
    """The hash of all code of the user's own that builds and runs the network: the file that defines its factory, the modules
    that it and its arguments come from, and what these import. Installed packages are not in it; a timm or
    torchvision model has the hash of the one file that defines it.

    Modules whose files have changed since they were imported are imported anew.

    Raises: UserError: the factory cannot be found, or has no source file.
    """
    forget_changed([name.partition(":")[0] for name in (spec.factory, *references(spec.arguments)) if ":" in name])
    factory = find_factory(spec.factory)
    main = _defining_file(factory)
    modules = [factory.module, *(find_object(name, what="argument").module for name in references(spec.arguments))]
    defined_in = inspect.getmodule(inspect.unwrap(factory.value))
    files = _followed(module.__name__ for module in [*modules, *([defined_in] if defined_in else [])])
    digests = {name: _digest(file) for name, file in files.items() if file != main and _has_code(file)}
    for name, file in files.items():
        _hashed[name] = (file, _digest(file))
    if not digests:
        return _digest(main)
    everything = "\n".join(
        [_digest(main), *(f"{own_name(name)} {digests[name]}" for name in sorted(digests, key=own_name))]
    )
    return hashlib.blake2b(everything.encode(), digest_size=8).hexdigest()


def forget_changed(modules: Iterable[str]) -> None:
    """Drops the user's modules, so that they are imported anew, where a file of theirs, or of one that `modules` import,
    is not the one that was imported.
    """
    files = {name: file for name, (file, _) in _hashed.items()}
    files |= {name: file for name, file in _followed(modules).items() if name in sys.modules}
    if all(_is_current(name, file) for name, file in files.items()):
        return
    for name, file in files.items():
        sys.modules.pop(name, None)
        # Python compares times in whole seconds and sizes, which an edit can leave as they were.
        Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
    _hashed.clear()
    importlib.invalidate_caches()


def _is_current(name: str, file: Path) -> bool:
    """Whether the module that was imported, by us or by whomever, is what its file holds now."""
    if name not in sys.modules:
        return True
    try:
        if name in _hashed:
            return _digest(file) == _hashed[name][1]
        compiled = Path(importlib.util.cache_from_source(str(file))).read_bytes()[8:16]  # the source's time and size
        status = file.stat()
    except OSError:  # it is gone, or was never compiled to a file
        return name not in _hashed
    return compiled == struct.pack("<II", int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)


def _defining_file(factory: Found) -> Path:
    try:
        name = inspect.getsourcefile(inspect.unwrap(factory.value))
    except TypeError:  # a partial, or an object that can be called: they are made where they were found
        name = getattr(factory.module, "__file__", None)
    if name is None or not Path(name).is_file():
        raise UserError(
            f"factory {factory.name!r}: its source file cannot be found, so its results could not be distinguished"
        )
    return Path(name).resolve()


def _followed(modules: Iterable[str]) -> dict[str, Path]:
    """The files of these modules and of all that they import, as far as they are the user's, by module."""
    files: dict[str, Path] = {}
    to_follow = list(modules)
    seen: set[str] = set()
    while to_follow:
        name = to_follow.pop()
        if name in seen:
            continue
        seen.add(name)
        if "." in name:
            to_follow.append(name.rpartition(".")[0])  # a package is run before what is in it
        file = _file_of(name)
        if file is None:
            continue
        files[name] = file
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        found = _imports(file.read_bytes(), package) if file.suffix == ".py" else _Imports(frozenset(), computed=False)
        to_follow += found.names
        if found.computed:
            to_follow += _neighbours(file, package)
    return files


def _neighbours(file: Path, package: str) -> Iterator[str]:
    """The modules in a file's folder, those in packages below it too where it belongs to a package."""
    for other in file.parent.rglob("*.py") if package else file.parent.glob("*.py"):
        parts = other.relative_to(file.parent).with_suffix("").parts
        inner = parts[:-1] if parts[-1] == "__init__" else parts
        if all(part.isidentifier() for part in inner):
            yield ".".join(([package] if package else []) + list(inner))


def _file_of(name: str) -> Path | None:
    """The user's file of a module, without importing it."""
    found = getattr(sys.modules[name], "__spec__", None) if name in sys.modules else _unloaded(name)
    file = Path(found.origin).resolve() if found and found.has_location and found.origin else None
    return file if file is not None and _is_users(file) else None


def _unloaded(name: str) -> ImportSpec | None:
    package, _, last = name.rpartition(".")
    if not package:
        try:
            return importlib.util.find_spec(name)
        except (ValueError, ImportError):  # an empty name; __main__, which has none
            return None
    without_init = None
    for folder in _folders_of(package):
        found = FileFinder(folder, *LOADERS).find_spec(last)
        if found is not None and found.loader is not None:
            return found
        without_init = without_init or found
    return without_init


def _folders_of(package: str) -> list[str]:
    """The folders of a package of the user's, with or without `__init__.py`."""
    if package in sys.modules:
        folders = list(getattr(sys.modules[package], "__path__", []))
    else:
        found = _unloaded(package)
        folders = list(found.submodule_search_locations or []) if found else []
    return [folder for folder in folders if _is_users(Path(folder).resolve())]


@functools.cache
def _is_users(file: Path) -> bool:
    """Whether it is neither Python's, nor an installed package's, nor ours."""
    ours = Path(__file__).resolve().parents[1]
    return not (
        {"site-packages", "dist-packages"} & set(file.parts)
        or any(file.is_relative_to(Path(sysconfig.get_path(which)).resolve()) for which in ("stdlib", "platstdlib"))
        or any(file.is_relative_to(ours / package) for package in OUR_PACKAGES)
    )


@dataclass(frozen=True)
class _Imports:
    names: frozenset[str]
    """Absolute names of what may be modules."""
    computed: bool
    """Whether it also loads code by a name that it computes."""


@functools.lru_cache(maxsize=4096)
def _imports(source: bytes, package: str) -> _Imports:
    """What a module imports, anywhere in its text. `package`: the package that relative names start from."""
    names: set[str] = set()
    computed = False
    for node in ast.walk(_parsed(source) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")])
        elif isinstance(node, ast.Call) and _called(node) in IMPORTERS:
            first = node.args[0] if node.args else None
            if _called(node) in ("__import__", "import_module") and isinstance(first, ast.Constant):
                names.add(_absolute(str(first.value), package))
            else:
                computed = True
    return _Imports(frozenset(names - {""}), computed)


def _called(call: ast.Call) -> str:
    function = call.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _absolute(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, *([name[level:]] if name[level:] else [])])


def _parsed(source: bytes) -> ast.Module | None:
    """None for a file that cannot be imported either; its bytes count all the same."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _has_code(file: Path) -> bool:
    """Whether a file does anything when it is imported: an empty `__init__.py` does not."""
    parsed = _parsed(file.read_bytes()) if file.suffix == ".py" else None
    return parsed is None or not all(
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) for statement in parsed.body
    )


def _digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
