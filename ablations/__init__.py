"""Ablations: arms and grids, the cells that they consist of, their records, and the study that trains them.

The names that need torch and Ray are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.networks import load_network
    from ablations.running import PreparedStudy, Settings, prepare_study, run_study
    from ablations.study import Outcome

__all__ = ["Outcome", "PreparedStudy", "Settings", "load_network", "prepare_study", "run_study"]

_LAZY = {
    "Outcome": "ablations.study",
    "PreparedStudy": "ablations.running",
    "Settings": "ablations.running",
    "load_network": "ablations.networks",
    "prepare_study": "ablations.running",
    "run_study": "ablations.running",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
