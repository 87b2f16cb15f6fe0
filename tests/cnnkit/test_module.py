import os
import sys
from pathlib import Path

import pytest

from cnnkit.errors import UserError
from cnnkit.module import find_factory, foreign_code
from cnnkit.search_paths import add_search_paths


@pytest.fixture
def folder(tmp_path):
    add_search_paths([str(tmp_path)])
    return tmp_path


def test_what_builds_no_network_is_refused_without_being_called(folder):
    (folder / "m_reexports.py").write_text(
        "import functools, os, subprocess\nfrom os import system\nrun = functools.partial(subprocess.getoutput)\n"
        "class Names:\n    os = os\n"
    )
    for name in (
        "os:system", "subprocess:getoutput", "math:sqrt", "builtins:eval", "posix:system", "os.path:join", "m_reexports:system",
        "m_reexports:subprocess.getoutput", "m_reexports:run", "m_reexports:Names.os.system", "torch:rand",
    ):  # fmt: skip
        with pytest.raises(UserError, match="Python's own"):
            find_factory(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf-hub:timm/resnet18.a1_in1k", "timm's name of the architecture ('resnet18.a1_in1k'"),
        ("hf_hub:me/my_net", "a function of your own that loads it"),
        ("local-dir:/models/net", "models are not fetched by name"),
        ("m_nowhere:make", "put m_nowhere.py beside the grid"),
        ("m_nowhere.py:make", "give the module's name, m_nowhere"),
        ("nets/m_nowhere:make", "give the module's name, m_nowhere"),
        ("m_needs:make", "importing m_needs failed with ModuleNotFoundError: No module named 'm_absent'"),
        ("m_exits:make", "importing m_exits failed with SystemExit: 2"),
        ("m_asks:make", "importing m_asks failed with EOFError"),
        ("m_broken:make", "importing m_broken failed with SyntaxError"),
        ("m_needs:", "importing m_needs failed"),
        (":make", "importing  failed with ValueError"),
        ("__main__:make", "'make'"),
    ],
)
def test_a_factory_that_cannot_be_found_is_one_sentence(folder, name, words):
    (folder / "m_needs.py").write_text("import m_absent\n")
    (folder / "m_exits.py").write_text("import sys\nsys.exit(2)\n")
    (folder / "m_asks.py").write_text("input()\n")
    (folder / "m_broken.py").write_text("def make(:\n")
    with pytest.raises(UserError) as caught:
        find_factory(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_factories_are_functions_classes_partials_decorated_functions_and_objects_that_can_be_called(folder):
    (folder / "m_kinds.py").write_text(
        "import functools\nfrom torch import nn\nclass Net(nn.Module): pass\nsmall = functools.partial(Net)\n"
        "@functools.lru_cache\ndef cached(): return Net()\n"
        "class Maker:\n    def __call__(self): return Net()\n    def method(self): return Net()\n"
        "    @staticmethod\n    def static(): return Net()\nmaker = Maker()\nlater = lambda: Net()\n"
    )
    for name in ("Net", "small", "cached", "maker", "maker.method", "Maker.static", "later"):
        assert find_factory(f"m_kinds:{name}").value().__class__.__name__ == "Net"


def test_ctrl_c_in_a_users_code_is_still_ctrl_c():
    with pytest.raises(KeyboardInterrupt), foreign_code("mine failed with"):
        raise KeyboardInterrupt


def test_input_is_there_again_after_a_users_code():
    before = sys.stdin
    with pytest.raises(UserError, match="mine failed with EOFError"), foreign_code("mine failed with"):
        input()
    assert sys.stdin is before


def test_code_of_ones_own_that_changes_the_folder_does_not_move_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with foreign_code("building failed with"):
        os.chdir("/")
    assert Path.cwd() == tmp_path
    with pytest.raises(UserError, match="building failed with"), foreign_code("building failed with"):
        os.chdir("/")
        raise ValueError
    assert Path.cwd() == tmp_path
