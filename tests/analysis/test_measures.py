"""Measures over the cells of a study that was trained here, from weights to tables."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ablations.arm import Arm
from ablations.job import Job
from ablations.measure_store import MeasureStore
from ablations.measuring import measure_study
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import DamagedRecord, Store
from ablations.trial import result_of
from analysis import measured
from analysis.measures import MEASURES, Images, ready, ready_as_far_as_possible
from analysis.shape_bias import shape_bias
from analysis.stimuli import read_stimuli
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe

SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)


def grid(baseline: Arm) -> list[Arm]:
    """Does a third block matter?"""
    return [baseline, baseline.variant("3 blocks", {"blocks": 3}, widths=(4, 8, 8))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample) -> Plan:
    """A study of two arms and two seeds, one cell unfinished and one without weights."""
    data = sample.subset(train=100, validation=50, test=50)
    store = Store.open(
        tmp_path_factory.mktemp("measured") / "results", data=data.fingerprint, data_description=data.describe()
    )
    plan = make_plan(grid, "g", SMALL, data, store, seeds=range(3), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        which = planned.arm.name, planned.cell.seed
        if which != ("3 blocks", 2):
            job = Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke", keep_weights=which != ("baseline", 2))
            store.write(result_of(job, plan.data))
    return plan


@pytest.fixture(scope="module")
def images(trained: Plan, sample) -> Images:
    return Images(sample.test.images, sample.test.labels, trained.study.data.classes, sample.fingerprint)


@pytest.fixture(scope="module")
def asked(images):
    """All measures, of few images."""
    stimuli = read_stimuli()
    few = Images(images.pixels[:200], images.labels[:200], images.classes, images.fingerprint)
    return dict(zip(MEASURES, ready(list(MEASURES), stimuli, few), strict=True))


@pytest.fixture(scope="module")
def result(trained, asked):
    return measure_study(trained.store, trained.study, list(asked.values()))


def test_every_finished_cell_with_weights_is_measured_and_the_others_are_named(trained, asked, result):
    assert (result.measured, result.before, result.unfinished) == (4, 0, 1)
    assert result.lacking == ["baseline, seed 2 has no weights: they were not kept, or have been pruned since"]
    for measure in asked.values():
        left = measured.read(trained.store, trained.study, measure.name)
        assert {arm: sorted(by_seed) for arm, by_seed in left.found.items()} == {"baseline": [0, 1], "3 blocks": [0, 1]}
        assert left.missing == ["baseline, seed 2"]


def test_a_cell_that_has_been_measured_costs_nothing_again(trained, asked, result):
    class Counted:
        name = asked["shape_bias"].name
        calls = 0

        def __call__(self, network):
            Counted.calls += 1
            return asked["shape_bias"](network)

    again = measure_study(trained.store, trained.study, [Counted()])
    assert (again.measured, again.before, Counted.calls) == (0, 4, 0)


@pytest.mark.parametrize("name", MEASURES)
def test_the_tables_have_a_row_for_every_arm(trained, asked, result, name):
    found = measured.read(trained.store, trained.study, asked[name].name).found
    table = asked[name].table(found, trained.study.data.classes, baseline="baseline")
    assert set(table["arm"]) == {"baseline", "3 blocks"}
    assert (table["seeds"] == 2).all()


def test_what_is_kept_is_what_the_networks_answered(trained, asked, result):
    stimuli = asked["shape_bias"].stimuli
    found = measured.read(trained.store, trained.study, asked["shape_bias"].name).found
    classes = trained.study.data.classes
    table = measured.shape_bias(found, stimuli, classes, baseline="baseline").set_index("arm")
    for arm, by_seed in found.items():
        values = []
        for arrays in by_seed.values():
            shared = [classes.index({"boat": "ship", "car": "automobile"}.get(c, c)) for c in stimuli.categories]
            answers = np.array(stimuli.categories)[arrays["small"][:, shared].argmax(1)]
            values.append(shape_bias(stimuli.table.assign(decision=answers)).value)
        assert table.loc[arm, "value"] == pytest.approx(np.mean(values))
    ten = measured.shape_bias(found, stimuli, classes, baseline="baseline", ten_way=True).set_index("arm")
    assert (ten["neither"] >= table["neither"]).all()


def test_unchanged_images_are_answered_as_in_the_record(trained, asked, result, images):
    found = measured.read(trained.store, trained.study, asked["reliance"].name).found
    key = next(cell.key for cell in trained.study.cells if (cell.arm, cell.seed) == ("3 blocks", 1))
    logits, labels = trained.store.logits(trained.store.read(key), "test")
    right = measured.answers(found)["3 blocks"][1][""]
    # The study's 50 test images are the first five of each class.
    place = {image.tobytes(): k for k, image in enumerate(images.pixels[:200])}
    for image, answer, label in zip(trained.data.test.images, logits.argmax(1), labels, strict=True):
        if (k := place.get(image.tobytes())) is not None:
            assert right[k] == (answer == label)


def test_a_damaged_measure_is_taken_again_and_named_until_then(trained, asked, result):
    measure = asked["shape_bias"]
    kept = MeasureStore(trained.store)
    key = next(cell.key for cell in trained.study.cells if (cell.arm, cell.seed) == ("baseline", 0))
    record = trained.store.read(key)
    file = kept.file(record, measure.name)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:200], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.raises(DamagedRecord):
            kept.read(record, measure.name)
        left = measured.read(trained.store, trained.study, measure.name)
        assert 0 not in left.found["baseline"]
        assert any(sentence.startswith("baseline, seed 0: ") for sentence in left.missing)
    assert measure_study(trained.store, trained.study, [measure]).measured == 1
    again = kept.read(record, measure.name)
    file.write_bytes(whole)
    before = kept.read(record, measure.name)
    assert all(np.array_equal(again[name], before[name]) for name in ("small", "sharp"))


def test_a_measure_of_another_cell_or_of_other_weights_is_not_taken_for_this_ones(trained, asked, result):
    measure = asked["shape_bias"]
    kept = MeasureStore(trained.store)
    one, other = (
        trained.store.read(c.key) for c in trained.study.cells if (c.arm, c.seed) in {("baseline", 0), ("3 blocks", 0)}
    )
    mine = kept.file(one, measure.name).read_bytes()
    shutil.copy(kept.file(other, measure.name), kept.file(one, measure.name))
    assert not kept.has(one, measure.name)
    kept.file(one, measure.name).write_bytes(mine)
    again = one.model_copy(update={"files": {**one.files, "weights.safetensors": "0" * 64}})
    assert kept.read(again, measure.name) is None
    assert kept.read(one, measure.name) is not None


def test_a_measure_cannot_name_a_path(trained):
    record = trained.store.read(next(iter(trained.store.finished_keys())))
    for name in ("../x-1", "shape_bias", "a-../../b", ""):
        with pytest.raises(ValueError, match="not a measure's name"):
            MeasureStore(trained.store).file(record, name)


def test_other_images_have_another_name(asked, images):
    stimuli = read_stimuli()
    more = ready(list(MEASURES), stimuli, images)
    assert more[1].name != asked["reliance"].name
    fewer = stimuli.only(stimuli.conflict)
    assert MEASURES["shape_bias"](fewer, images).name != asked["shape_bias"].name
    elsewhere = replace(stimuli, fingerprint="other")
    assert MEASURES["attention"](elsewhere, images).name != asked["attention"].name


def test_data_without_the_stimulis_classes_is_refused_in_one_sentence(images):
    digits = Images(images.pixels, images.labels, tuple("0123456789"), "digits")
    for name in ("shape_bias", "attention", "composites"):
        with pytest.raises(UserError, match="needs classes that the stimuli have"):
            ready([name], read_stimuli(), digits)
    assert ready(["reliance"], read_stimuli(), digits)


def test_stimuli_or_images_that_lack_what_a_measure_asks_about_are_refused_in_one_sentence(images):
    few = Images(images.pixels[:20], images.labels[:20], images.classes, images.fingerprint)
    with pytest.raises(UserError, match=r"images of class .* are too few for 5 backgrounds"):
        ready(["composites"], read_stimuli(), few)
    bare = replace(read_stimuli(), masks={})
    with pytest.raises(UserError, match="the stimuli have no silhouettes"):
        ready(["attention"], bare, images)
    with pytest.raises(UserError, match="no object to cut out"):
        ready(["composites"], bare, images)
    measures, left_out = ready_as_far_as_possible(list(MEASURES), bare, images)
    assert [measure.name.split("-")[0] for measure in measures] == ["shape_bias", "reliance"]
    assert [sentence.split(" not measured: ")[0] for sentence in left_out] == ["attention", "composites"]
