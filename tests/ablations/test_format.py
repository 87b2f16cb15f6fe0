"""Records of earlier versions are found and read. The stored folders stay; a new format adds one beside them."""

from pathlib import Path

import pytest

from ablations.cell import Cell, SplitSizes
from ablations.store import Store
from analysis.outcomes import Outcomes
from cnnkit import ConvNetSpec, Recipe

STORED = Path(__file__).parent / "stored"


@pytest.fixture
def store() -> Store:
    return Store(STORED / "format-1")


def test_a_cell_of_format_1_is_found_under_its_key_and_read(store):
    (study,) = store.studies()
    trials = Outcomes.from_store(store.root, study).cells
    assert (trials["status"] == "finished").all()
    for key in trials["key"]:
        record = store.read(key)
        logits, labels = store.logits(record, "test")
        assert (logits.argmax(1) == labels).mean() == record.test_accuracy


def test_a_field_with_a_default_that_is_added_later_orphans_nothing(store):
    class LaterSpec(ConvNetSpec):
        stochastic_depth: float = 0.0

    class LaterRecipe(Recipe):
        mixup: float = 0.0

    for key in store.finished_keys():
        identity = store.read(key).identity
        later = {
            **identity,
            "spec": LaterSpec(**identity["spec"]).changed_fields(),
            "recipe": LaterRecipe(**identity["recipe"]).changed_fields(),
        }
        assert later == identity
        cell = Cell(
            spec=ConvNetSpec(**identity["spec"]),
            recipe=Recipe(**identity["recipe"]),
            data=identity["data"],
            split=SplitSizes(**identity["split"]),
            seed=identity["seed"],
            numerics=identity["numerics"],
        )
        assert cell.key == key
