"""Measures over the cells of a study that was trained here, from weights to tables."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from ablations.arm import Arm
from ablations.job import Job
from ablations.measure_store import MeasureStore, Null
from ablations.measuring import TrainedNetwork, measure_study
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.sealed import DamagedRecord
from ablations.store import Store
from ablations.trial import result_of
from analysis import measured, measures, reliance
from analysis.attention import composite_table
from analysis.measures import MEASURES, Images, ready, ready_as_far_as_possible
from analysis.shape_bias import colour_answers, shape_bias
from analysis.stimuli import read_stimuli
from cnnkit import build
from cnnkit.errors import UserError
from cnnkit.images import ImageSet
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
    train = trained.data.train
    return Images(
        sample.test.images,
        sample.test.labels,
        trained.study.data.classes,
        sample.fingerprint,
        training=train,
    )


@pytest.fixture(scope="module")
def asked(images):
    """All measures, of few images."""
    stimuli = read_stimuli()
    few = replace(images, pixels=images.pixels[:200], labels=images.labels[:200])
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


def test_random_weights_are_those_that_the_cell_began_its_training_with(trained, asked, result):
    """Built here from the spec and the seed, and asked like the trained network."""
    left = measured.read(trained.store, trained.study, asked["attention"].name)
    assert {arm: sorted(by_seed) for arm, by_seed in left.random.items()} == {"baseline": [0, 1, 2], "3 blocks": [0, 1]}
    for planned in trained.cells:
        if planned.cell.seed in left.random[planned.arm.name]:
            model = build(planned.arm.spec, seed=planned.cell.seed).eval()
            network = TrainedNetwork(model, 32, planned.arm.recipe.precision, torch.channels_last, torch.device("cpu"))
            expected = asked["attention"](network)
            found = left.random[planned.arm.name][planned.cell.seed]
            assert all(np.array_equal(found[name], expected[name]) for name in ("logits", "maps"))
            trained_maps = left.found[planned.arm.name].get(planned.cell.seed, {"maps": 0})["maps"]
            assert not np.array_equal(found["maps"], trained_maps)


def test_nulls_are_kept_once_for_all_that_share_them_and_not_asked_again(trained, asked, result):
    """Arms that differ in their recipe alone have the same random weights; another study's cells find them there."""
    slower = trained.study.model_copy(
        update={
            "arms": [
                entry.model_copy(update={"recipe": {**entry.recipe, "learning_rate": 1e-5}})
                for entry in trained.study.arms
            ]
        }
    )
    calls = []

    class Counted(type(asked["attention"])):
        def __call__(self, network):
            calls.append(network)
            return super().__call__(network)

    counted = Counted(asked["attention"].stimuli, asked["attention"].size)
    measure_study(trained.store, slower, [counted])
    assert calls == []
    files = list((trained.store.root / "nulls").rglob("*.safetensors"))
    assert len([file for file in files if file.name.startswith("attention")]) == 5
    assert len([file for file in files if file.name.startswith("colours")]) == 1


def test_the_classifier_of_colours_learns_from_the_studys_training_images(trained, asked, result):
    left = measured.read(trained.store, trained.study, asked["shape_bias"].name)
    stimuli, train = asked["shape_bias"].stimuli, trained.data.train
    answers = colour_answers(train.images, train.labels, trained.study.data.classes, stimuli)
    assert [stimuli.categories[one] for one in left.colours["answers"]] == answers
    table = asked["shape_bias"].table(left, trained.study.data.classes, baseline="baseline")
    assert table["colours"].tolist() == [shape_bias(stimuli.table.assign(decision=answers)).value] * 2
    assert table["constant"].tolist() == [0.5, 0.5]
    assert table["random"].between(0, 1).all()


def test_a_damaged_null_is_as_good_as_missing_and_made_again(trained, asked, result):
    measure, entry = asked["attention"], trained.study.arms[0]
    kept, null = MeasureStore(trained.store), Null.random_weights(entry, 0)
    before = kept.read(null, measure.name)
    file = kept.file(null, measure.name)
    file.write_bytes(file.read_bytes()[:-1])
    assert 0 not in measured.read(trained.store, trained.study, measure.name).random[entry.name]
    again = measure_study(trained.store, trained.study, [measure])
    assert (again.measured, again.before) == (0, 4)
    assert np.array_equal(kept.read(null, measure.name)["maps"], before["maps"])


def test_what_composites_left_is_read_without_the_images(trained, asked, result):
    measure = asked["composites"]
    left = measured.read(trained.store, trained.study, measure.name)
    scenes = measured.scenes(left.found["baseline"][0], measure.stimuli)
    assert scenes.table.astype(str).equals(measure.made.table.astype(str))
    table = measure.table(left, trained.study.data.classes, baseline="baseline")
    given = measured.seen(left.found, trained.study.data.classes)
    direct = composite_table(given, measure.made, baseline="baseline")
    assert table["lift"].tolist() == pytest.approx(direct["lift"].tolist(), abs=1e-6)
    assert table["wrong_value"].tolist() == pytest.approx(direct["wrong_value"].tolist(), abs=1e-6)


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
    found = measured.read(trained.store, trained.study, asked[name].name)
    table = asked[name].table(found, trained.study.data.classes, baseline="baseline")
    assert set(table["arm"]) == {"baseline", "3 blocks"}
    assert (table["seeds"] == 2).all()


def test_what_is_kept_is_what_the_networks_answered(trained, asked, result):
    stimuli = asked["shape_bias"].stimuli
    found = measured.read(trained.store, trained.study, asked["shape_bias"].name)
    classes = trained.study.data.classes
    table = measured.shape_bias(found, stimuli, classes, baseline="baseline").set_index("arm")
    for arm, by_seed in found.found.items():
        values = []
        for arrays in by_seed.values():
            shared = [classes.index({"boat": "ship", "car": "automobile"}.get(c, c)) for c in stimuli.categories]
            answers = np.array(stimuli.categories)[arrays["small"][:, shared].argmax(1)]
            values.append(shape_bias(stimuli.table.assign(decision=answers)).value)
        assert table.loc[arm, "value"] == pytest.approx(np.mean(values))
    ten_way = measured.Way(all_classes=True)
    ten = measured.shape_bias(found, stimuli, classes, baseline="baseline", way=ten_way).set_index("arm")
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


# -- other data than CIFAR-10's


class Answering:
    """In the place of a network: takes what it is shown, and answers by its brightness."""

    def __init__(self, classes: int, channels: int) -> None:
        self.classes, self.channels, self.shown = classes, channels, []

    def logits(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        assert images.shape[1] == self.channels
        self.shown.append(images.shape)
        answers = images.mean(axis=(1, 2, 3)).astype(int) % self.classes
        return np.eye(self.classes, dtype=np.float32)[answers]


def of_other_data(classes: tuple[str, ...], channels: int, size: int, each: int = 6) -> Images:
    """Random images, `each` of a class, for testing and for training."""
    dice = np.random.default_rng(0)
    labels = np.tile(np.arange(len(classes)), each)
    pixels = dice.integers(0, 256, (len(labels), channels, size, size), np.uint8)
    return Images(pixels, labels, classes, "other", training=ImageSet(pixels, labels))


NAMED = ("cat", "dog", "a ship, a boat", "airplane", "truck")


@pytest.mark.parametrize("size", [28, 224, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_measures_take_images_of_any_size_in_colour_or_grey(channels, size):
    images = of_other_data(NAMED, channels, size)
    stimuli = read_stimuli().only(np.arange(245) % 5 == 0)
    bias = ready(["shape_bias"], stimuli, images)[0]
    network = Answering(5, channels)
    found = bias(network)
    of_four = len(bias.stimuli)  # cat, dog, airplane and truck
    assert network.shown[0] == (of_four, channels, size, size)
    assert network.shown[1] == (of_four, channels, 224, 224)
    assert found["small"].shape == (of_four, 5)
    assert set(bias.null()["answers"]) <= {0, 1, 2, 3}
    made = ready(["composites"], read_stimuli(), images)[0].made
    assert made.images.shape[1:] == (channels, min(size, 224), min(size, 224))
    relied = ready(["reliance"], stimuli, images)[0](Answering(5, channels))
    assert ("grey" in relied) == (channels == 3)
    assert ("patch shuffle 8x8" in relied) == (size % 8 == 0)
    assert {len(answers) for answers in relied.values()} == {30}


def test_a_change_takes_as_much_of_a_large_image_as_of_a_small_one(images):
    """The same pictures, four times as wide: low-pass and bilateral filter do to them what they do to the small ones."""
    small = images.pixels[:20]
    large = small.repeat(4, axis=2).repeat(4, axis=3)
    for name in ("low-pass", "high-pass"):
        one, other = (reliance.changed(each)[name].astype(float) for each in (small, large))
        back = other.reshape(20, 3, 32, 4, 32, 4).mean(axis=(3, 5))
        assert np.abs(back - one).mean() < 0.25 * np.abs(one - small).mean()


def test_large_images_are_changed_for_each_network_and_do_not_travel_eight_times(images, monkeypatch):
    monkeypatch.setattr(measures, "KEPT_BYTES", 0)
    asked = measures.Reliance(replace(images, pixels=images.pixels[:40], labels=images.labels[:40]))
    kept = Answering(10, 3)
    found = asked(kept)
    assert "_changed" not in asked.__getstate__()
    assert len(pickle.dumps(asked)) < 2 * asked.images.pixels.nbytes
    monkeypatch.setattr(measures, "KEPT_BYTES", 2**29)
    other = asked(Answering(10, 3))
    assert all(np.array_equal(found[name], other[name]) for name in found)


def test_by_default_each_class_has_its_share_of_two_thousand_images_and_at_least_one(sample):
    assert len(Images.of(sample).labels) == len(sample.test)
    names = tuple(str(number) for number in range(2500))
    labels = np.arange(5000) % 2500
    many = ImageSet(np.zeros((5000, 1, 2, 2), np.uint8), labels)
    about = sample.about.model_copy(update={"classes": names})
    asked = Images.of(replace(sample, train=many, test=many, about=about))
    assert sorted(asked.labels) == list(range(2500))
