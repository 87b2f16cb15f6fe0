import numpy as np
import pytest
import torch

from analysis.attention import (
    Objects,
    Seen,
    attention_table,
    centre,
    composite_table,
    composites,
    lifts,
    matched_difference,
    on_grid,
    with_masks,
)
from analysis.crossed import CrossedDesign
from analysis.gradcam import grad_cam
from analysis.stimuli import Stimuli, read_stimuli
from cnnkit import BASELINE, build
from cnnkit.augment import to_input, to_unit
from cnnkit.data import CLASSES, Data

SMALL = BASELINE.vary(image_size=32, widths=(8, 16), hidden_width=16)
SIZE = 16  # of SMALL's maps before the last pooling


@pytest.fixture(scope="module")
def stimuli() -> Stimuli:
    return read_stimuli()


@pytest.fixture(scope="module")
def outlines(stimuli) -> np.ndarray:
    """Each stimulus's own mask on the grid."""
    objects = Objects.of(stimuli, SIZE)
    return np.stack([objects.masks[name] for name in objects.instances])


@pytest.fixture(scope="module")
def untrained(stimuli) -> dict[int, np.ndarray]:
    """Maps of eight networks with random weights, of the class that they answer."""
    inputs = to_input(to_unit(torch.from_numpy(stimuli.shrunk(32))), 32)
    found = {}
    for seed in range(8):
        model = build(SMALL, seed=seed).eval()
        with torch.no_grad():
            answers = model(inputs).argmax(1)
        found[seed] = grad_cam(model, inputs, answers)
    return found


def test_a_map_that_points_nowhere_has_no_lift_and_one_on_the_object_has_all(stimuli, outlines):
    objects = Objects.of(stimuli, SIZE)
    lift, specificity = objects.measure(np.ones_like(outlines))
    assert np.abs(lift).max() < 1e-6
    assert np.abs(specificity).max() < 1e-6
    lift, specificity = objects.measure((outlines == 1).astype(np.float32))
    assert lift == pytest.approx(1 - outlines.mean(axis=(1, 2)), abs=1e-6)
    assert specificity.min() > 0


def test_lift_counts_by_hand():
    mask = np.zeros((1, 2, 2), np.float32)
    mask[0, 0, 0] = 1  # a quarter of the image
    maps = np.array([[[3, 1], [0, 0]], [[0, 0], [0, 0]]], np.float32)
    found = lifts(maps, mask)
    assert found[0, 0] == 3 / 4 - 1 / 4
    assert np.isnan(found[1, 0])  # empty


def test_a_blob_in_the_middle_has_a_lift_and_no_specificity(stimuli):
    """It is the same for all images, so over objects its specificity is nought but for how often each is shown."""
    objects = Objects.of(stimuli, SIZE)
    lift, specificity = objects.measure(np.repeat(centre(SIZE), len(stimuli), axis=0))
    assert lift.mean() > 0.1
    one_of_each = [objects.instances.index(name) for name in objects.masks]
    assert specificity[one_of_each].mean() == pytest.approx(0, abs=1e-9)


def test_random_weights_look_at_contrast_at_most(stimuli, untrained):
    """A sum of rectified random filters is somewhere between a map that points nowhere and one of all edges: its lift and
    specificity lie between nought and theirs, within the 99.9 % interval for new weights and objects.
    """
    table = attention_table({"untrained": untrained}, stimuli, baseline="untrained").set_index("measure")
    for measure in ("lift", "specificity"):
        row = table.loc[measure]
        slack = (row["high"] - row["low"]) / 2 * 5.41 / 2.36  # quantiles of Student's t with 7 degrees of freedom
        assert -slack < row["value"] < row["edges"], measure
        assert slack < row["edges"] + 0.05, measure  # so that the bounds are worth something
    assert table.loc["lift", "edges"] > 0.1
    assert table.loc["lift", "centre"] > 0.1 > 0.01 > abs(table.loc["specificity", "centre"])


def test_shuffled_masks_give_a_specificity_near_nought(stimuli, outlines):
    """Maps that lie on the objects, and the outlines dealt out anew: within 4 standard deviations of a random deal."""
    objects = Objects.of(stimuli, SIZE)
    names = list(objects.masks)
    one_of_each = np.array([objects.instances.index(name) for name in names])
    by_object = lifts(outlines[one_of_each], np.stack([objects.masks[name] for name in names]))
    truly = Objects(names, objects.masks).measure(outlines[one_of_each])[1].mean()
    # Hoeffding's variance of sum_i a[i, deal(i)] for a random deal: the doubly centred squares over n - 1.
    centred = by_object - by_object.mean(0) - by_object.mean(1, keepdims=True) + by_object.mean()
    deviation = np.sqrt(np.square(centred).sum() / (len(names) - 1)) / len(names)
    for seed in range(5):
        deal = np.random.default_rng(seed).permutation(len(names))
        shuffled = dict(zip(names, (objects.masks[names[i]] for i in deal), strict=True))
        found = Objects(names, shuffled).measure(outlines[one_of_each])[1].mean()
        # Specificity is own less the mean of the others, n / (n - 1) times own less the mean of all.
        assert abs(found) < 4 * deviation * len(names) / (len(names) - 1)
        assert abs(found) < truly / 4


def test_arms_are_compared_at_the_coarsest_resolution_and_paired(stimuli, outlines, untrained):
    sharper = {seed: one + 2 * outlines * one.mean() for seed, one in untrained.items()}
    fine = {seed: np.repeat(np.repeat(one, 2, axis=1), 2, axis=2) for seed, one in sharper.items()}
    nothing = {seed: np.zeros_like(one) for seed, one in untrained.items()}
    table = attention_table(
        {"untrained": untrained, "sharper": sharper, "fine": fine, "nothing": nothing}, stimuli, baseline="untrained"
    ).set_index(["arm", "measure"])
    assert (table["resolution"] == SIZE).all()
    assert table.loc[("fine", "lift"), "own_resolution"] == 2 * SIZE
    for measure in ("lift", "specificity"):
        assert table.loc[("sharper", measure), "verdict"] == "more on the object"
        assert table.loc[("fine", measure), "value"] == pytest.approx(
            table.loc[("sharper", measure), "value"], rel=1e-3
        )
    assert table.loc[("nothing", "lift"), ["seeds", "empty"]].tolist() == [0, 1.0]
    assert np.isnan(table.loc[("nothing", "lift"), "value"])


def test_empty_maps_are_left_out_of_the_mean_and_counted(stimuli, outlines, untrained):
    some = {seed: one.copy() for seed, one in untrained.items()}
    for one in some.values():
        one[:49] = 0
    row = attention_table({"a": some}, stimuli, baseline="a").set_index("measure").loc["lift"]
    rest = Objects(Objects.of(stimuli, SIZE).instances[49:], Objects.of(stimuli, SIZE).masks)
    assert row["value"] == pytest.approx(np.mean([np.nanmean(rest.measure(one[49:])[0]) for one in some.values()]))
    assert row["empty"] >= 0.2


def test_stimuli_without_a_silhouette_can_be_left_out(stimuli):
    fewer = Stimuli(stimuli.table, stimuli.images, {k: v for k, v in stimuli.masks.items() if k != "cat7"})
    keep = with_masks(fewer)
    assert (~keep).sum() == (stimuli.table["shape_instance"] == "cat7").sum() > 0
    assert "cat7" not in Objects.of(fewer.only(keep), SIZE).masks


@pytest.fixture(scope="module")
def made(stimuli, sample: Data):
    return composites(stimuli, sample.test.images, sample.test.labels, CLASSES)


def test_every_object_lies_on_backgrounds_of_every_other_class(made):
    assert len(made) == 35 * 6 * 5
    assert (made.table["object_class"] != made.table["background_class"]).all()
    assert (made.table.groupby(["object_class", "background_class"]).size() == 25).all()
    assert made.images.shape == (1050, 3, 32, 32)


def test_a_composite_is_the_object_inside_its_outline_and_the_background_outside(made, stimuli, sample):
    for k in (0, 500, 1049):
        row = made.table.iloc[k]
        mask = made.masks[row["object"]]
        background = sample.test.images[int(row["background"])]
        assert np.array_equal(made.images[k][:, mask == 0], background[:, mask == 0])
        whole = stimuli.table.index[
            (stimuli.table["shape_instance"] == row["object"]) & (stimuli.table["shape"] == stimuli.table["texture"])
        ][0]
        blocks = stimuli.images[whole].reshape(3, 32, 7, 32, 7).mean(axis=(2, 4))
        assert np.abs(made.images[k] - blocks)[:, mask == 1].max() <= 0.51


def test_matching_by_confidence_takes_away_what_confidence_explains():
    """Lift rises with confidence and right answers are confident: the plain difference is all confidence's."""
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence
    lift = confidence + 0.1 * right + 0.1 * rng.standard_normal(20_000)
    plain = lift[right].mean() - lift[~right].mean()
    matched = matched_difference(lift, right, ~right, confidence, bins=50).mean()
    assert plain > 0.35
    assert matched == pytest.approx(0.1, abs=0.01)


def test_matched_values_vary_as_the_difference_does():
    """Leaving one member out moves the difference as the values' mean says, to first order; bins and weights held."""
    rng = np.random.default_rng(0)
    values, first = rng.standard_normal(400), np.arange(400) % 2 == 0
    found = matched_difference(values, first, ~first, np.zeros(400), bins=1)
    assert found.mean() == pytest.approx(values[first].mean() - values[~first].mean())
    for k in range(6):
        kept = np.arange(400) != k
        moved = values[first & kept].mean() - values[~first & kept].mean() - found.mean()
        assert moved == pytest.approx(found[kept].mean() - found.mean(), abs=1e-4)


def test_groups_that_never_meet_are_refused():
    with pytest.raises(ValueError, match="no bin holds members of both"):
        matched_difference(
            np.zeros(4), np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool), np.array([9, 9, 0, 0.0])
        )


def test_who_answers_with_the_background_because_it_looks_there_is_found(made):
    """A simulated network that answers with what it looks at, and one that looks at the object whatever it answers."""
    rng = np.random.default_rng(0)
    objects = np.stack([made.masks[name] for name in made.table["object"]]).astype(np.float32)

    def network(depends: bool) -> Seen:
        at_object = rng.random(len(made)) < 0.6
        answers = np.where(at_object, made.table["object_class"], made.table["background_class"])
        looks = at_object if depends else np.ones(len(made), bool)
        maps = np.where(looks[:, None, None], objects, 1 - objects) + rng.random(objects.shape, dtype=np.float32)
        return Seen(list(answers), rng.random(len(made)), maps)

    arms = {name: {seed: network(name == "looks") for seed in range(3)} for name in ("looks", "does not")}
    table = composite_table(arms, made, baseline="looks").set_index("arm")
    assert table[["right", "background", "other"]].sum(axis=1).tolist() == pytest.approx([1, 1])
    assert table.loc["looks", "background_low"] > 0.05
    assert table.loc["does not", "background_low"] < 0 < table.loc["does not", "background_high"]
    assert table.loc["looks", "lift_right"] > 0 > table.loc["looks", "lift_background"]
    assert table["lift_other"].isna().all()


def test_what_training_added_is_the_paired_difference_to_the_same_networks_random_weights(stimuli, outlines, untrained):
    """Two arms whose random weights differ by as much as their trained networks do learnt the same."""
    inside = {seed: one + 2 * outlines * one.mean() for seed, one in untrained.items()}
    more = {seed: one + 4 * outlines * one.mean() for seed, one in untrained.items()}
    trained, random = {"baseline": inside, "arm": more}, {"baseline": untrained, "arm": inside}
    table = attention_table(trained, stimuli, baseline="baseline", random=random).set_index(["arm", "measure"])
    lift = table.xs("lift", level="measure")
    assert (table["compared"] == "added").all()
    assert lift["added"].to_numpy() == pytest.approx((lift["value"] - lift["random"]).to_numpy())
    assert (lift["added_low"] > 0).all(), "the pairs have their seed and their stimuli in common"
    difference = lift.loc["arm", "added"] - lift.loc["baseline", "added"]
    assert lift.loc["arm", "delta"] == pytest.approx(difference)
    raw = attention_table(trained, stimuli, baseline="baseline", random={"baseline": untrained})
    assert (raw["compared"] == "value").all(), "not all arms can be compared by what training added"
    raw = raw.set_index(["arm", "measure"]).xs("lift", level="measure")
    assert raw.loc["arm", "delta"] == pytest.approx(raw.loc["arm", "value"] - raw.loc["baseline", "value"])
    assert raw.loc["arm", ["random", "added"]].isna().all()


def test_what_training_added_is_known_at_an_arms_own_resolution_whatever_the_coarsest(stimuli, outlines, untrained):
    """Beside an arm of 2x2 positions, at which the middle of an image is nowhere."""
    inside = {seed: one + 4 * outlines * one.mean() for seed, one in untrained.items()}
    coarse = {seed: one.reshape(len(one), 2, SIZE // 2, 2, SIZE // 2).mean(axis=(2, 4)) for seed, one in inside.items()}
    alone = attention_table({"fine": inside}, stimuli, baseline="fine", random={"fine": untrained})
    beside = attention_table(
        {"fine": inside, "coarse": coarse},
        stimuli,
        baseline="fine",
        random={"fine": untrained, "coarse": coarse},
    )
    columns = ["own_added", "own_added_low", "own_added_high"]
    own = beside[beside["arm"] == "fine"][columns].to_numpy()
    assert own == pytest.approx(alone[columns].to_numpy())
    assert own == pytest.approx(alone[["added", "added_low", "added_high"]].to_numpy())
    lift = beside.set_index(["arm", "measure"]).loc[("fine", "lift")]
    assert lift["added"] < lift["own_added"] / 2, "the coarsest blurs it"
    assert beside.set_index(["arm", "measure"]).loc[("coarse", "lift"), "own_added"] == pytest.approx(0)


def test_random_weights_on_composites_stand_beside_the_trained_ones(made):
    rng = np.random.default_rng(0)
    objects = np.stack([made.masks[name] for name in made.table["object"]]).astype(np.float32)
    answers = list(made.table["object_class"])
    trained = {"arm": {0: Seen(answers, rng.random(len(made)), objects)}}
    random = {"arm": {0: Seen(answers, rng.random(len(made)), np.ones_like(objects))}}
    table = composite_table(trained, made, baseline="arm", random=random)
    assert table.loc[0, "lift"] > 0.3
    assert table.loc[0, "random"] == pytest.approx(0, abs=1e-6)
    assert table.loc[0, "centre"] > 0.05
    assert np.isnan(composite_table(trained, made, baseline="arm").loc[0, "random"])


def test_masks_on_a_grid_keep_their_area(stimuli):
    masks = np.stack(list(stimuli.masks.values()))
    for size in (2, 7, 14, 28):
        assert on_grid(masks, size).mean(axis=(1, 2)) == pytest.approx(masks.mean(axis=(1, 2)), abs=1e-6)


def test_the_design_of_the_composites_can_tell_objects_from_backgrounds(made):
    pairs = made.table["object_class"] + "-" + made.table["background_class"]
    assert CrossedDesign(made.table["object"], made.table["background"], pairs).degrees_of_freedom == 35 - 7
