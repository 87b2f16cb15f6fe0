"""Sheets of a gallery, read back from the figures that are drawn."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from analysis.figures import BLUE, STYLE, VERMILION
from analysis.sheets import COLOURS, SCALE, Column, Look, Row, sheet

SMALLEST = 6.5  # points
CAPTION = "What it shows, and how it is read. " * 8
IMAGE = np.full((3, 32, 32), 90, np.uint8)


@pytest.fixture(autouse=True)
def _paper():
    plt.switch_backend("agg")
    with mpl.rc_context(STYLE):
        yield
    plt.close("all")


def look(raw: np.ndarray, *, answer: str = "dog", is_right: bool | None = True) -> Look:
    return Look(answer, 0.834, is_right, raw.astype(np.float32))


def drawn(*looks: Look, names: list[str] | None = None, rows: int = 1) -> Axes:
    columns = [Column(name, "seed 0, map 2×2") for name in names or [f"arm {k}" for k in range(len(looks))]]
    return sheet(
        [Row("cat\ntest image 7", IMAGE, looks)] * rows,
        columns,
        title="study",
        caption="What it shows, and how it is read. " * 8,
    )


def pictures(ax: Axes) -> list[np.ndarray]:
    """Of the cells, without the image itself."""
    return [np.asarray(image.get_array()).astype(int) for image in ax.images][1:]


def upon_grey(multiple: float) -> np.ndarray:
    """The colour of a position of the map over the image, which is even and grey."""
    shade = 0.15 + 0.5 * SCALE(multiple)
    return np.rint(shade * 255 * np.array(COLOURS(SCALE(multiple))[:3]) + (1 - shade) * 90).astype(int)


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_map_is_shown_in_multiples_of_its_mean_whatever_its_size():
    even, corner = np.ones((4, 4)), np.eye(2)[:1] * np.array([[1.0], [0.0]])
    ax = drawn(look(even), look(1000 * even), look(corner))
    one, same, peak = pictures(ax)
    assert (abs(one - upon_grey(1)) <= 1).all()
    assert (same == one).all()
    half = len(peak) // 2
    assert (abs(peak[:half, :half] - upon_grey(4)) <= 1).all()
    assert (abs(peak[half:] - upon_grey(0)) <= 1).all()


def test_a_map_that_is_nought_is_marked_and_not_coloured():
    ax = drawn(look(np.zeros((2, 2))), look(np.ones((2, 2))))
    assert (pictures(ax)[0] == 90).all()
    assert words(ax).count("map is 0\neverywhere") == 1


def test_right_and_wrong_are_said_by_sign_and_colour_and_unknown_by_neither():
    ax = drawn(*(look(np.ones((2, 2)), is_right=right) for right in (True, False, None)))
    answers = {text.get_text(): text.get_color() for text in ax.texts if "83 %" in text.get_text()}
    assert answers == {"✓ dog 83 %": BLUE, "✗ dog 83 %": VERMILION, "dog 83 %": "0.1"}


@pytest.mark.parametrize("columns", [1, 2, 5, 12])
def test_nothing_is_cut_off_or_too_small_to_read(columns):
    names = [f"arm number {k}, with a long name" for k in range(columns)]
    looks = [look(np.ones((4, 4)), answer="automobile-like") for _ in names]
    ax = drawn(*looks, names=names, rows=3)
    figure = ax.figure
    figure.canvas.draw()
    box = figure.bbox.padded(1)
    shown = [text for text in figure.findobj(mpl.text.Text) if text.get_text().strip() and text.get_visible()]
    for text in shown:
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0, text
        assert extent.x1 <= box.x1, text
        assert box.y0 <= extent.y0, text
        assert extent.y1 <= box.y1, text
        assert text.get_fontsize() >= SMALLEST, text
    answers = [text.get_window_extent() for text in shown if "83 %" in text.get_text()]
    assert not any(a.overlaps(b) for k, a in enumerate(answers) for b in answers[k + 1 :])


def test_grey_images_and_names_in_other_scripts_are_drawn():
    row = Row("猫", IMAGE[:1], [look(np.ones((2, 2)), answer="狗")])
    sheet([row], [Column("深度", "seed 0")], title="研究", caption="…").figure.canvas.draw()


def test_rows_that_do_not_fit_the_columns_are_refused():
    with pytest.raises(ValueError, match="rows of 2 looks"):
        sheet([Row("x", IMAGE, [look(np.ones((2, 2)))])], [Column("a", ""), Column("b", "")], title="", caption="")
