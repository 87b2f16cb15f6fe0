"""Ablations: arms and grids, the cells that they consist of, their records, and the study that trains them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.running import PreparedStudy, Settings, prepare_study, run_study
    from ablations.study import Outcome

__all__ = ["Outcome", "PreparedStudy", "Settings", "prepare_study", "run_study"]


def __getattr__(name: str) -> Any:
    """What needs torch and Ray is imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "ablations.study" if name == "Outcome" else "ablations.running"
    return getattr(import_module(module), name)
