"""Executes the notebooks in analysis/notebooks and writes them as .ipynb.

    python experiments/make_notebooks.py
    ABLATIONS_STUDY=results/studies/depth-quick python experiments/make_notebooks.py --out FOLDER

The sources are the percent scripts; edit those. The first command writes the kept notebooks anew, which read the small real
studies among the tests; the second makes those of another study. Needs `pip install -e '.[notebooks]'`; half a minute on
two cores.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli import console, parse, run_script
from cnnkit.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode

NEEDED = ("jupytext", "nbformat", "nbclient", "ipykernel")
FOLDER = Path(__file__).parents[1] / "analysis" / "notebooks"


@dataclass
class Arguments:
    """The command line."""

    out: Path = FOLDER
    """A folder for the notebooks; beside their sources by default."""


def unexecuted(source: Path) -> "NotebookNode":
    """The notebook of a percent script. Nothing in it depends on when or where it was made."""
    import jupytext
    from nbformat import NotebookNode

    notebook = jupytext.read(source)
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"{source.stem}-{place}", NotebookNode()
    return notebook


def executed(source: Path) -> "NotebookNode":
    """The notebook with its outputs.

    Raises: nbclient.exceptions.CellExecutionError: a cell ended with an error.
    """
    from nbclient import NotebookClient

    notebook = unexecuted(source)
    metadata = notebook.metadata.copy()
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
    notebook.metadata = metadata  # the kernel adds the version of its Python
    return notebook


def main(arguments: Sequence[str]) -> int:
    """Writes the notebooks, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed; notebooks need: pip install -e '.[notebooks]'")
    import nbformat

    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {args.out}: {error.strerror}") from error
    for source in sorted(FOLDER.glob("*.py")):
        file = args.out / f"{source.stem}.ipynb"
        nbformat.write(executed(source), file)
        console().print(f"wrote {file}", markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    run_script(main)
