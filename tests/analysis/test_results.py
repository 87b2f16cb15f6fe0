import subprocess
import sys

from ablations.arm import Arm
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from cnnkit.search_paths import add_search_paths

NETWORK = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
"""
READ = """
import sys
from analysis.results import load
from analysis.effects import effect_table

results = load(sys.argv[1])
print(results.trials[["arm", "status", "parameters"]].drop_duplicates().to_csv(index=False))
effect_table(results.trials, results.correct)
assert "torch" not in sys.modules, "a study is read without the libraries that trained it"
"""


def test_a_study_of_a_network_whose_source_has_gone_is_read_all_the_same(tmp_path, tiny):
    def grid(baseline: Arm) -> list[Arm]:
        """Is it the convolutions?"""
        return [baseline, baseline.replaced("mine", {"network": "mine"}, "a_network_that_goes:make", {"width": 4})]

    source = tmp_path / "a_network_that_goes.py"
    source.write_text(NETWORK)
    add_search_paths([str(tmp_path)])
    store = Store.open(tmp_path / "results", data=tiny.fingerprint, data_description=tiny.describe())
    plan = make_plan(grid, "mine", PROTOCOLS["smoke"], tiny, store, seeds=range(2), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    source.unlink()
    run = subprocess.run([sys.executable, "-c", READ, store.root], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    parameters = 3 * 3 * 3 * 4 + 4 + 4 * 10 + 10
    assert f"mine,missing,{parameters}" in run.stdout
