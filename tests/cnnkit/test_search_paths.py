"""The user's modules are found, and hide nobody else's. In processes of their own, since imports leave traces."""

import subprocess
import sys

import pytest

NAMES = ("random", "test", "analysis", "ablations", "cnnkit", "numpy", "net")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"WHOSE = 'the user'\ndef make():\n    return {name!r}\n")
    return tmp_path


def python(folder, code: str) -> str:
    script = f"from cnnkit.search_paths import *\nadd_search_paths([{str(folder)!r}])\n{code}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_nothing_that_others_import_is_hidden(folder):
    code = "import random, analysis, ablations, cnnkit, numpy\nprint([hasattr(m, 'WHOSE') for m in "
    assert python(folder, code + "(random, analysis, ablations, cnnkit, numpy)])") == str([False] * 5)


def test_a_users_module_is_found_by_its_name_where_nobody_else_has_it(folder):
    assert python(folder, "import net, test\nprint(net.WHOSE, test.WHOSE)") == "the user the user"


def test_a_users_module_that_is_asked_for_is_found_whatever_its_name(folder):
    code = f"print([users_module(n).make() for n in {NAMES}])\nimport random, numpy\nprint(random.random, numpy.array)"
    output = python(folder, code)
    assert output.splitlines()[0] == str(list(NAMES))
    assert "built-in" in output.splitlines()[1]


def test_a_package_whose_name_is_taken_is_loaded_with_its_parts(tmp_path):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("")
    (tmp_path / "json" / "part.py").write_text("from . import other\nvalue = other.value")
    (tmp_path / "json" / "other.py").write_text("value = 3")
    assert python(tmp_path, "print(users_module('json.part').value)") == "3"


def test_the_file_of_a_module_is_found_without_importing_it(tmp_path):
    (tmp_path / "package" / "inner").mkdir(parents=True)
    for file in ("package/inner/net.py", "single.py"):
        (tmp_path / file).write_text("raise RuntimeError('imported')")
    code = "print([str(file_of(n)) for n in ('package.inner.net', 'single', 'os', 'no_such')])"
    assert python(tmp_path, code) == str([f"{tmp_path}/package/inner/net.py", f"{tmp_path}/single.py", "None", "None"])


def test_folders_that_are_added_later_come_first(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(f"whose = {folder!r}")
    code = (
        "import net\nprint(net.whose)\n"
        f"add_search_paths([{str(tmp_path / 'b')!r}])\nforget_users_modules()\nimport net\nprint(net.whose)\n"
        f"add_search_paths([{str(tmp_path / 'a')!r}])\nforget_users_modules()\nimport net\nprint(net.whose)\n"
    )
    assert python(tmp_path / "a", code).split() == ["a", "b", "a"]


def test_a_module_that_cannot_be_executed_leaves_its_name_free(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    code = "import sys\ntry:\n    load_file('odd', Path(" + repr(str(tmp_path / "broken.py")) + "))\n"
    assert python(tmp_path, code + "except ZeroDivisionError:\n    print('odd' in sys.modules)") == "False"
