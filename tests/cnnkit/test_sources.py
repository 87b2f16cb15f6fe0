"""What the hash of a network's code depends on, in folders as users have them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from cnnkit.errors import UserError
from cnnkit.own import build_module
from cnnkit.search_paths import add_search_paths
from cnnkit.sources import source_of
from cnnkit.spec import ModuleSpec

NET = "from torch import nn\n{imports}\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 10))\n"


@pytest.fixture
def folder(tmp_path, request):
    """A folder of the user's own, whose modules' names no other test uses."""
    add_search_paths([str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    """Modules by their names, with `__` for a dot."""
    for name, text in files.items():
        write_file(folder / f"{name.replace('__', '/')}.py", text)


def write_file(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def source(factory: str, **arguments) -> str:
    return source_of(ModuleSpec(factory=factory, arguments=arguments, image_size=2))


def old_hash(file: Path) -> str:
    """As every version so far computed it."""
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()


def test_one_file_has_the_hash_that_it_always_had(folder):
    write(folder, s_alone=NET.format(imports="import math, numpy, timm\nfrom cnnkit.model import ConvBlock"))
    assert source("s_alone:make") == old_hash(folder / "s_alone.py")


def test_so_has_a_file_in_a_package_with_nothing_in_it(folder):
    write(folder, s_empty__net=NET.format(imports=""))
    write_file(folder / "s_empty" / "__init__.py", '"""Nothing."""\n')
    assert source("s_empty.net:make") == old_hash(folder / "s_empty" / "net.py")


def test_models_of_timm_and_torchvision_have_the_hash_that_they_always_had():
    import timm.models.resnet
    import torchvision.models.resnet

    assert source("resnet18") == old_hash(Path(timm.models.resnet.__file__))
    assert source("torchvision.models:resnet18", num_classes=10) == old_hash(Path(torchvision.models.resnet.__file__))


IMPORTS = {
    "at the top": ("import {p}_helper", "{p}_helper"),
    "from": ("from {p}_helper import x", "{p}_helper"),
    "inside a function": ("def later():\n    import {p}_helper", "{p}_helper"),
    "in a branch that does not run": ("if False:\n    import {p}_helper", "{p}_helper"),
    "by its name as text": ("import importlib\nx = importlib.import_module('{p}_helper')", "{p}_helper"),
    "by a name that is computed": ("import importlib\nx = importlib.import_module('{p}_' + 'helper')", "{p}_helper"),
    "of a namespace package": ("import {p}_lib.deep.helper", "{p}_lib__deep__helper"),
    "a name that is a module": ("from {p}_lib.deep import helper", "{p}_lib__deep__helper"),
}


@pytest.mark.parametrize("how", IMPORTS)
def test_a_helper_that_is_imported_counts(folder, how):
    prefix = "s" + "".join(word[0] for word in how.split())
    imports, helper = (text.format(p=prefix) for text in IMPORTS[how])
    write(folder, **{f"{prefix}_net": NET.format(imports=imports), helper: "x = 1\n"})
    before = source(f"{prefix}_net:make")
    write(folder, **{helper: "x = 2\n"})
    assert source(f"{prefix}_net:make") != before
    write(folder, **{helper: "x = 1\n"})
    assert source(f"{prefix}_net:make") == before


def test_a_helpers_helper_and_the_packages_around_them_count(folder):
    package = folder / "s_pkg"
    write_file(package / "__init__.py", "")
    write_file(package / "net.py", NET.format(imports="from .layers import act"))
    write_file(package / "layers" / "__init__.py", "from ..deep import act")
    write_file(package / "deep.py", "act = 1")
    hashes = [source("s_pkg.net:make")]
    for name, text in [
        ("deep.py", "act = 2"),
        ("layers/__init__.py", "from ..deep import act  # all"),
        ("__init__.py", "y = 3"),
    ]:
        write_file(package / name, text)
        hashes.append(source("s_pkg.net:make"))
    assert len(set(hashes)) == 4


def test_files_beside_it_that_it_does_not_import_do_not_count(folder):
    write(folder, s_lone=NET.format(imports="import s_used"), s_used="x = 1", s_other="x = 1")
    before = source("s_lone:make")
    write(folder, s_other="x = 2")
    assert source("s_lone:make") == before


def test_two_helpers_that_change_places_count(folder):
    write(folder, s_swap=NET.format(imports="import s_one, s_two"), s_one="x = 1", s_two="x = 2")
    before = source("s_swap:make")
    write(folder, s_one="x = 2", s_two="x = 1")
    assert source("s_swap:make") != before


def test_a_class_that_is_an_argument_counts(folder):
    write(folder, s_arg="def make(act):\n    return act()\n", s_act="class Act: pass\n")
    before = source("s_arg:make", act={"$ref": "s_act:Act"})
    write(folder, s_act="class Act: x = 1\n")
    assert source("s_arg:make", act={"$ref": "s_act:Act"}) != before


def test_a_helper_that_was_imported_before_counts_as_it_does_in_a_process_of_its_own(folder):
    write(folder, s_early=NET.format(imports="from s_first import x"), s_first="x = 1")
    import s_first  # type: ignore[import-not-found]

    assert s_first.x == 1
    code = (
        f"from cnnkit.search_paths import add_search_paths\nadd_search_paths([{str(folder)!r}])\n"
        "from cnnkit.sources import source_of\nfrom cnnkit.spec import ModuleSpec\n"
        "print(source_of(ModuleSpec(factory='s_early:make', image_size=2)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert source("s_early:make") == other


@pytest.mark.parametrize("bytecode", [True, False])
def test_a_helper_that_is_edited_between_two_runs_in_one_process_is_loaded_anew(folder, monkeypatch, bytecode):
    monkeypatch.setattr(sys, "dont_write_bytecode", not bytecode)
    prefix = f"s_edit{bytecode}"
    net = "from torch import nn\nfrom {p}_width import width\ndef make():\n    return nn.Linear(width, 10)\n"
    write(folder, **{f"{prefix}_net": net.format(p=prefix), f"{prefix}_width": "width = 4"})
    spec = ModuleSpec(factory=f"{prefix}_net:make", image_size=2)
    first = spec.vary(source=source_of(spec))
    assert build_module(first, seed=0).in_features == 4
    write(folder, **{f"{prefix}_width": "width = 8"})  # as long as before, and within the same second
    with pytest.raises(UserError, match="has changed since this study was planned"):
        build_module(first, seed=0)
    second = spec.vary(source=source_of(spec))
    assert second.source != first.source
    assert build_module(second, seed=0).in_features == 8


def test_a_module_that_was_imported_by_hand_and_edited_since_is_loaded_anew(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(folder, s_hand="from torch import nn\ndef make():\n    return nn.Linear(4, 10)\n")
    import s_hand  # type: ignore[import-not-found]

    assert s_hand.make().in_features == 4
    write(folder, s_hand="from torch import nn\ndef make():\n    return nn.Linear(16, 10)\n")
    spec = ModuleSpec(factory="s_hand:make", image_size=2)
    assert build_module(spec.vary(source=source_of(spec)), seed=0).in_features == 16


def test_a_module_of_ones_own_is_found_although_python_has_one_of_its_name(folder):
    write(folder, random=NET.format(imports="import s_wheels"), s_wheels="x = 1", test=NET.format(imports=""))
    assert source("test:make") == old_hash(folder / "test.py")
    before = source("random:make")
    write(folder, s_wheels="x = 2")
    assert source("random:make") != before
    import random

    assert random.random() < 1


def test_a_partial_and_an_object_that_can_be_called_have_the_hash_of_the_file_that_makes_them(folder):
    text = "import functools\nfrom torch import nn\nsmall = functools.partial(nn.Linear, 12, 10)\n"
    write(folder, s_partial=text)
    assert source("s_partial:small") == old_hash(folder / "s_partial.py")
