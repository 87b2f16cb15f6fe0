"""Where modules of the user's own are found: in their folders, without hiding anybody else's. Imports no torch.

Their folders come after everything else, so that a file `random.py` or `analysis.py` beside a grid takes the place of no
module that the software or a library needs. Asked for by name, as a factory is, the user's module is found all the same.
"""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

OUR_PACKAGES = ("ablations", "analysis", "cnnkit")
_OURS = str(Path(__file__).resolve().parents[1])

_folders: list[str] = []
_on_the_path: list[str] = []
"""Those of the folders that Python did not search anyway."""
_aliases: dict[str, str] = {}
"""The names under which modules were loaded whose own names are taken, and those."""
_loaded_before: set[str] = set()
"""Modules that were loaded before the first folder was added: none of them is the user's to load again."""


class _BeforePythonsOwnTests(MetaPathFinder):
    """Python comes with a package `test` of its own, which no program uses; a user's test.py comes before it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, _folders) if fullname == "test" and path is None else None


_before_tests = _BeforePythonsOwnTests()


def add_search_paths(paths: Iterable[str]) -> None:
    """Lets the user's modules be found in these folders: after everything else, but before folders that were added earlier."""
    if not _folders:
        _loaded_before.update(sys.modules)
    _folders[:] = dict.fromkeys([*paths, *_folders])
    others = [path for path in sys.path if path not in _on_the_path]
    if _OURS not in others:  # installed for editing: then our packages would be found after everything on the path
        others.append(_OURS)
    _on_the_path[:] = [folder for folder in _folders if folder not in others]
    sys.path[:] = [*others, *_on_the_path]
    if _before_tests not in sys.meta_path:
        sys.meta_path.insert(0, _before_tests)
    importlib.invalidate_caches()


def file_of(module: str) -> Path | None:
    """The file that a module of the user's is read from, found without importing anything; None where it is not theirs."""
    for folder in _folders:
        base = Path(folder, *module.split("."))
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if os.path.isfile(file):  # noqa: PTH113 -- no error where a name is too long
                return file.resolve()
    return None


def beside(name: str) -> Path:
    """The file that a relative name means: in the current folder, else in one of the user's folders where it is there."""
    places = [Path(name), *(Path(folder, name) for folder in _folders)]
    return next((place for place in places if os.path.isfile(place)), places[0])  # noqa: PTH113 -- as above


def users_module(name: str) -> ModuleType:
    """The module `name` from the user's folders, where it is there; any other module otherwise.

    A user's module whose name is taken (random, analysis) is loaded under a name of its own, beside the other one.

    Raises: whatever importing it raises.
    """
    top, _, rest = name.partition(".")
    file = file_of(top)
    if file is None or _found_by_its_name(top, file):
        return importlib.import_module(name)
    alias = f"{top}_{hashlib.blake2b(bytes(file), digest_size=6).hexdigest()}"
    _aliases[alias] = top
    if alias not in sys.modules:
        load_file(alias, file)
    return importlib.import_module(f"{alias}.{rest}") if rest else sys.modules[alias]


def own_name(module: str) -> str:
    """What a module is called in the user's folders, whatever the name under which it was loaded."""
    top, dot, rest = module.partition(".")
    return _aliases.get(top, top) + dot + rest


def load_file(name: str, file: Path) -> ModuleType:
    """The module that `file` holds, whatever its suffix, as `name`.

    Raises: whatever executing it raises; the name is free again then.
    """
    folders = [str(file.parent)] if file.name == "__init__.py" else None
    loader = _FromSource(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=folders)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _FromSource(importlib.machinery.SourceFileLoader):
    """Reads the source and no bytecode, which Python takes for that of a file edited within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def forget_users_modules() -> None:
    """Has the user's modules loaded again when they are next asked for: a file may have been edited since, or another
    grid's folder may hold another module of that name.
    """
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in OUR_PACKAGES or top in _loaded_before:
            continue
        first = getattr(sys.modules.get(top, module), "__file__", None)
        if first and _stands_in_a_folder(Path(first)):
            del sys.modules[name]


def _stands_in_a_folder(file: Path) -> bool:
    """Whether `file` is a module, or makes a package, that stands in one of the folders themselves."""
    place = file.parent.parent if file.name == "__init__.py" else file.parent
    return str(place) in _folders


def _found_by_its_name(top: str, file: Path) -> bool:
    """Whether `import top` gives the module of `file`."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # `__main__`, say
        return True
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file
