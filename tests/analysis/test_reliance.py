import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from analysis.reliance import CHANGES, UNCHANGED, changed, patch_shuffle, reliance_by_class, reliance_table
from analysis.statistics import contrast_effect
from cnnkit.data import Data


@pytest.fixture(scope="module")
def images(sample: Data) -> np.ndarray:
    return sample.test.images[:60]


@pytest.fixture(scope="module")
def after(images) -> dict[str, np.ndarray]:
    return changed(images)


def test_every_change_keeps_shape_and_type_and_changes_something(images, after):
    assert list(after) == [change.name for change in CHANGES]
    for name, some in after.items():
        assert (some.shape, some.dtype) == (images.shape, images.dtype), name
        assert (some != images).any(axis=(1, 2, 3)).mean() > 0.95, name


def test_the_same_seed_gives_the_same_images_and_another_gives_others(images, after):
    again, other = changed(images), changed(images, seed=1)
    assert all(np.array_equal(after[name], again[name]) for name in after)
    drawn = [name for name in after if not np.array_equal(after[name], other[name])]
    assert drawn == ["patch shuffle 2x2", "patch shuffle 4x4", "patch shuffle 8x8", "noise"]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_patch_shuffle_moves_whole_patches_and_loses_no_pixel(images, parts):
    mixed = patch_shuffle(images, np.random.default_rng(0), parts=parts)
    size = 32 // parts
    for before, after_ in zip(images, mixed, strict=True):
        patches = [
            sorted(
                image[:, i : i + size, j : j + size].tobytes() for i in range(0, 32, size) for j in range(0, 32, size)
            )
            for image in (before, after_)
        ]
        assert patches[0] == patches[1]


def test_patches_go_everywhere_equally_often():
    """Where the first of four patches of 2,000 images ends up: each place within 4.5 standard deviations of 500."""
    image = np.zeros((2000, 1, 4, 4), np.uint8)
    image[:, :, :2, :2] = 1
    mixed = (
        patch_shuffle(image, np.random.default_rng(0), parts=2)[:, 0, ::2, ::2].reshape(2000, 4).astype(int).sum(axis=0)
    )
    assert mixed.sum() == 2000
    assert np.abs(mixed - 500).max() < 4.5 * np.sqrt(2000 * 0.25 * 0.75)


def test_grey_is_the_luma_of_pillow(images, after):
    for image, found in zip(images[:10], after["grey"][:10], strict=True):
        luma = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")).astype(int)
        assert np.abs(found - luma[None]).max() <= 1
        assert np.array_equal(found[0], found[1])


def test_low_and_high_frequencies_add_up_to_the_image(images, after):
    """Around the mean colour, but for rounding and what is cut at black and white."""
    low, high = after["low-pass"].astype(float), after["high-pass"].astype(float)
    means = images.mean(axis=(2, 3), keepdims=True)
    inside = (after["high-pass"] > 0) & (after["high-pass"] < 255)
    assert np.abs(low + high - means - images)[inside].max() <= 1.5


@pytest.mark.parametrize(("period", "low"), [(16, 0.84), (8, 0.5), (4, 0.06)])
def test_the_gaussian_passes_of_a_wave_what_its_formula_says(period, low):
    """exp(-2 (pi sigma / period)^2) of the amplitude, and the high-pass the rest; away from the image's border."""
    wave = 127 + 100 * np.sin(2 * np.pi * np.arange(32) / period)
    stripes = np.tile(np.rint(wave).astype(np.uint8), (1, 3, 32, 1))
    after = changed(stripes)
    assert low == pytest.approx(np.exp(-2 * (np.pi * 1.5 / period) ** 2), abs=0.01)
    for name, kept in (("low-pass", low), ("high-pass", 1 - low)):
        found = np.ptp(after[name][0, 0, 16, 8:24].astype(float)) / np.ptp(stripes[0, 0, 16, 8:24].astype(float))
        assert found == pytest.approx(kept, abs=0.02), name


def test_noise_has_the_size_it_says(images, after):
    middle = (images > 90) & (images < 165)  # far from where it is cut off
    difference = after["noise"][middle].astype(float) - images[middle]
    assert difference.std() == pytest.approx(25.5, rel=0.03)
    assert abs(difference.mean()) < 5 * 25.5 / np.sqrt(middle.sum())


def test_the_bilateral_filter_takes_texture_and_leaves_edges():
    """A step of 120 grey levels under noise: the noise shrinks, the step stays where a Gaussian of that size blurs it."""
    rng = np.random.default_rng(0)
    image = np.full((1, 3, 32, 32), 60.0)
    image[..., 16:] = 180
    noisy = np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    found = changed(noisy)["bilateral filter"].astype(float)
    assert found[..., :12].std() < 0.5 * noisy[..., :12].std()
    step = found[..., 16].mean() - found[..., 15].mean()
    blurred = ndimage.gaussian_filter(noisy.astype(float), (0, 0, 3, 3))
    assert step > 100 > 3 * (blurred[..., 16].mean() - blurred[..., 15].mean())


def test_changes_that_images_do_not_allow_are_left_out():
    grey_digits = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), dtype=np.uint8)
    assert list(changed(grey_digits)) == [
        "patch shuffle 2x2",
        "patch shuffle 4x4",
        "bilateral filter",
        "low-pass",
        "high-pass",
        "noise",
    ]


def answering(rng, accuracy: float, kept: float, images: int = 2000) -> dict[str, np.ndarray]:
    right = rng.random(images) < accuracy
    return {UNCHANGED: right, "grey": right & (rng.random(images) < kept), "noise": right}


def test_the_share_kept_is_the_ratio_of_accuracies_and_is_paired_with_the_baseline():
    rng = np.random.default_rng(0)
    arms = {
        "baseline": {seed: answering(rng, 0.6, 0.7) for seed in range(5)},
        "colour": {seed: answering(rng, 0.6, 0.4) for seed in range(5)},
        "same": {seed: answering(rng, 0.7, 0.7) for seed in range(4)},
    }
    table = reliance_table(arms, baseline="baseline").set_index(["arm", "change"])
    for arm, by_seed in arms.items():
        shares = [one["grey"].mean() / one[UNCHANGED].mean() for one in by_seed.values()]
        assert table.loc[(arm, "grey"), "value"] == pytest.approx(np.mean(shares))
    assert table.loc[("colour", "grey"), "verdict"] == "relies more"
    assert table.loc[("colour", "grey"), "delta"] == pytest.approx(
        table.loc[("colour", "grey"), "value"] - table.loc[("baseline", "grey"), "value"]
    )
    assert table.loc[("same", "grey"), "verdict"] in ("equivalent", "inconclusive")
    assert table.loc[("same", "grey"), "paired_seeds"] == 4
    assert (table.xs("noise", level="change")["value"] == 1).all()


def test_the_interval_of_the_share_is_that_of_the_ratio():
    """Against the delta method with independent images, one source of variance at a time: no seeds' effects here."""
    rng = np.random.default_rng(0)
    seeds = [answering(rng, 0.6, 0.7) for _ in range(8)]
    row = reliance_table({"a": dict(enumerate(seeds))}, baseline="a").query("change == 'grey'").iloc[0]
    # Of 1,200 right, 70 % are kept: binomial, since what is wrong unchanged does not count here.
    expected = 2.36 * np.sqrt(0.7 * 0.3 / 1200 / 8)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(expected, rel=0.6)
    naive = contrast_effect(np.stack([one["grey"].astype(float) for one in seeds]))
    assert row["value"] != pytest.approx(naive.delta)


def test_copies_of_images_in_a_cluster_tell_nothing_new():
    rng = np.random.default_rng(0)
    arms = {
        "baseline": {seed: answering(rng, 0.6, 0.7) for seed in range(3)},
        "arm": {seed: answering(rng, 0.6, 0.5) for seed in range(3)},
    }
    copied = {
        arm: {seed: {name: np.repeat(right, 4) for name, right in one.items()} for seed, one in by_seed.items()}
        for arm, by_seed in arms.items()
    }
    columns = ["value", "low", "high", "delta", "delta_low", "delta_high", "p_value"]
    clusters = np.repeat(np.arange(2_000), 4)
    once = reliance_table(arms, baseline="baseline")[columns].to_numpy()
    together = reliance_table(copied, baseline="baseline", clusters=clusters)[columns].to_numpy()
    assert together == pytest.approx(once, nan_ok=True)


def test_a_seed_that_is_never_right_is_left_out():
    rng = np.random.default_rng(0)
    wrong = {name: np.zeros(2000, bool) for name in (UNCHANGED, "grey", "noise")}
    arms = {"baseline": {0: answering(rng, 0.6, 0.7), 1: answering(rng, 0.6, 0.7)}, "arm": {0: wrong, 1: wrong}}
    table = reliance_table(arms, baseline="baseline").set_index("arm")
    assert table.loc["arm", "value"].isna().all()
    assert (table.loc["arm", "seeds"] == 0).all()


def test_by_class_each_class_has_its_own_share():
    labels = np.array([0, 0, 1, 1, 2])
    one = {UNCHANGED: np.array([1, 1, 1, 0, 0], bool), "grey": np.array([1, 0, 1, 0, 1], bool)}
    table = reliance_by_class({"a": {0: one}}, labels, ("cat", "dog", "frog", "ship")).set_index("class")
    assert table["value"].tolist()[:2] == [0.5, 1.0]
    assert table["value"].isna().tolist() == [False, False, True, True]
    assert table["images"].tolist() == [2, 2, 1, 0]
