import io

import pytest
from rich.console import Console

from ablations.grids import GRIDS
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS
from ablations.statement import table_of_arms


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_dry_run_names_every_arm_and_what_is_missing_of_it_however_narrow_the_terminal_is(tiny, width):
    plan = make_plan(
        GRIDS["regularisation"], "regularisation", PROTOCOLS["smoke"], tiny, None,
        seeds=range(3), arguments=[], now="2026-01-01",
    )  # fmt: skip
    out = Console(file=io.StringIO(), width=width)
    out.print(table_of_arms(plan))
    header, *lines = out.file.getvalue().splitlines()
    text = " ".join(" ".join(line[:46].split("  ")[0].strip() for line in lines).split())
    for arm in plan.arms:
        assert arm.name in text
    assert header.split()[-1] == "missing"
    assert sum(line.rstrip().endswith(" 3") for line in lines) == len(plan.arms)
    assert all(len(line) <= width for line in lines)
