"""Galleries of networks that were not trained, whose answers and maps are what they are."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from ablations.measuring import TrainedNetwork
from analysis.gallery import SHOWN, Cell, Subject, files_in, of_test_images, overlaps, pages, photos, summary, write
from analysis.gradcam import grad_cam
from analysis.outcomes import Outcomes
from analysis.studied import Answers, StudiedArm, cell_table
from analysis.thumbnails import TestImages
from cnnkit.augment import to_input, to_unit
from cnnkit.errors import UserError
from cnnkit.model import build
from cnnkit.spec import ConvNetSpec

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def network(*widths: int) -> TrainedNetwork:
    spec = ConvNetSpec(image_size=32, widths=widths, hidden_width=0)
    return TrainedNetwork(build(spec, seed=0).eval(), 32, "fp32", torch.channels_last, torch.device("cpu"))


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """Maps of 16x16 and 8x8."""
    return [Cell("base", 0, True, network(4, 8)), Cell("deep", 0, False, network(4, 8, 8))]


@pytest.fixture(scope="module")
def subjects(sample) -> list[Subject]:
    return list(
        of_test_images(outcomes_of(sample.test.labels), TestImages(sample.test.images, sample.test.labels), range(5))
    )


def outcomes_of(labels: np.ndarray) -> Outcomes:
    return Outcomes(
        (StudiedArm("base", is_baseline=True),), CLASSES, cell_table([]), lambda: Answers(labels, {"base": {}})
    )


def test_a_cell_is_what_the_network_answers_and_the_map_that_explains_it(cells, subjects, sample):
    (page,) = pages(subjects, cells, CLASSES)
    inputs = to_input(to_unit(torch.from_numpy(sample.test.images[:5])), 32)
    for place, cell in enumerate(cells):
        probabilities = cell.network.model(inputs).softmax(1)
        answers = probabilities.argmax(1)
        maps = grad_cam(cell.network.model, inputs, answers)
        for row, answer, share, true, raw in zip(
            page.rows, answers, probabilities.max(1).values, sample.test.labels, maps, strict=False
        ):
            look = row.looks[place]
            assert (look.answer, look.is_right) == (CLASSES[answer], bool(answer == true))
            assert look.probability == pytest.approx(share.item(), abs=1e-6)
            assert look.map == pytest.approx(raw, abs=1e-7)
    assert [column.detail for column in page.columns] == ["seed 0, map 16×16", "seed 0, map 8×8"]


def test_maps_of_the_true_class_explain_it_and_leave_the_answer(cells, subjects, sample):
    (page,) = pages(subjects, cells, CLASSES, target="true", method="hirescam")
    table = page.table
    assert (table["explained"] == table["true_class"]).all()
    (own,) = pages(subjects, cells, CLASSES)
    assert table["answer"].tolist() == own.table["answer"].tolist()
    inputs = to_input(to_unit(torch.from_numpy(sample.test.images[:5])), 32)
    expected = grad_cam(cells[1].network.model, inputs, sample.test.labels[:5], method="hirescam")
    assert np.stack([row.looks[1].map for row in page.rows]) == pytest.approx(expected, abs=1e-7)


def test_sheets_share_the_images_in_order_and_are_made_one_by_one(cells, subjects):
    asked = []

    def one_by_one():
        for subject in subjects:
            asked.append(subject.name)
            yield subject

    made = pages(one_by_one(), cells, CLASSES, rows=2)
    first = next(made)
    assert len(asked) == 2, "the second sheet's images are not even read before the first is done with"
    rest = list(made)
    assert [len(page.rows) for page in (first, *rest)] == [2, 2, 1]
    (whole,) = (page.table for page in pages(subjects, cells, CLASSES))
    parts = np.concatenate([page.table.query("arm == 'deep'")["image"] for page in (first, *rest)])
    assert parts.tolist() == whole.query("arm == 'deep'")["image"].tolist()


def test_memory_does_not_grow_with_the_number_of_sheets(cells, sample, tmp_path):
    """Peak of what is allocated while 2 sheets are written, and 8; numpy's arrays and matplotlib's canvases are counted."""

    def peak(sheets: int) -> int:
        places = range(3 * sheets)
        images = TestImages(sample.test.images, sample.test.labels)
        subjects = of_test_images(outcomes_of(sample.test.labels), images, places)
        gc.collect()
        tracemalloc.start()
        _, written = write(
            pages(subjects, cells, CLASSES, rows=3), tmp_path / f"{sheets}", title="t", caption="c", dots=60
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert written == sheets
        return found

    peak(1)  # what is made once: fonts, for example
    assert peak(8) < 1.1 * peak(2)


def test_grey_images_have_galleries_too(sample, tmp_path):
    spec = ConvNetSpec(image_size=32, in_channels=1, widths=(4, 8), hidden_width=0)

    class Grey(TrainedNetwork):
        """Without the normalisation, which is the data's."""

        def inputs(self, images):
            return torch.tensor(images).float() / 255

        def logits(self, images):
            with torch.no_grad():
                return self.model(self.inputs(images)).numpy()

    network = Grey(build(spec, seed=0).eval(), 32, "fp32", torch.contiguous_format, torch.device("cpu"))
    grey = sample.test.images[:3].mean(axis=1, keepdims=True).astype(np.uint8)
    subjects = of_test_images(outcomes_of(sample.test.labels[:3]), TestImages(grey, sample.test.labels[:3]), range(3))
    table, sheets = write(
        pages(subjects, [Cell("base", 0, True, network)], CLASSES), tmp_path / "out", title="t", caption="c", dots=60
    )
    assert sheets == 1
    assert (table["map"] == "16x16").all()
    with Image.open(tmp_path / "out" / "sheet-001.png") as drawn:
        assert drawn.width > 100


def test_numbers_compare_maps_at_the_coarsest(cells, subjects):
    (page,) = pages(subjects, cells, CLASSES)
    assert (page.table["compared_at"] == 8).all()
    own = page.table.query("arm == 'base'")
    assert own["overlap"].tolist() == pytest.approx([1.0] * 5)
    assert page.table.query("arm == 'deep'")["overlap"].between(0, 0.999).all()
    rows = summary(page.table).set_index("arm")
    assert rows.loc["deep", "map"] == "8x8"
    assert rows.loc["deep", "images"] == 5


def test_overlap_is_one_of_equal_nought_of_disjoint_and_unknown_of_empty_maps():
    left, right = np.zeros((1, 4, 4), np.float32), np.zeros((1, 2, 2), np.float32)
    left[0, :, :2], right[0, :, 1] = 3, 1
    assert overlaps(left, right, 2) == pytest.approx([0])
    assert overlaps(left, 7 * left[:, ::2, ::2], 2) == pytest.approx([1])
    assert overlaps(left, (left[:, ::2, ::2] + right), 2) == pytest.approx([0.75])
    assert np.isnan(overlaps(left, 0 * right, 2)).all()


def test_without_the_baselines_network_there_is_no_overlap(cells, subjects):
    (page,) = pages(subjects, cells[1:], CLASSES)
    assert page.table["overlap"].isna().all()


def test_photos_are_turned_upright_cut_to_the_middle_and_shrunk(tmp_path, cells):
    (tmp_path / "cat").mkdir()
    wide = np.zeros((60, 100, 3), np.uint8)
    wide[:, :20] = 255  # at the side, which the middle square leaves out
    wide[:30, 20:80] = (200, 0, 0)
    Image.fromarray(wide).save(tmp_path / "cat" / "a.png")
    turned = Image.fromarray(wide[:, 20:80]).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    turned.save(tmp_path / "b.png", exif=exif)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(wide[:, :, 0]).save(tmp_path / "grey.png")
    skipped: list[str] = []
    found = list(photos(files_in(tmp_path), size=32, channels=3, classes=CLASSES, skipped=skipped))
    assert [one.name for one in found] == ["b.png", "a.png", "grey.png"]
    assert [one.true_class for one in found] == [None, 3, None]
    assert skipped == ["broken.png is not a readable picture"]
    for one in found[:2]:
        assert one.pixels.shape == (3, 32, 32)
        assert one.shown.shape == (3, SHOWN, SHOWN)
        assert one.pixels[0, 4, 16] == pytest.approx(200, abs=1)
        assert one.pixels[0, 28, 16] == 0
    (page,) = pages(found, cells, CLASSES)
    assert page.table["right"].isna().tolist() == [True, False, True] * 2
    assert [row.title for row in page.rows] == ["b.png", "cat\na.png", "grey.png"]
    with pytest.raises(UserError, match=r"b\.png: nobody knows its true class"):
        next(pages(found, cells, CLASSES, target="true"))


def test_a_layer_that_an_arm_does_not_have_is_said_with_the_arms_name(cells, subjects):
    with pytest.raises(UserError, match=r"^base, seed 0: the network has no layer 'blocks\.2'"):
        list(pages(subjects, cells, CLASSES, layer="blocks.2"))


def test_images_of_another_test_set_or_none_are_refused_in_a_sentence(sample):
    outcomes = outcomes_of(sample.test.labels[::-1])
    with pytest.raises(UserError, match="are not the study's"):
        next(of_test_images(outcomes, TestImages(sample.test.images, sample.test.labels), [0]))
    with pytest.raises(UserError, match="the data set was not found"):
        next(of_test_images(outcomes, "the data set was not found", [0]))
