"""Pictures as people have them, written by Pillow in the modes and formats that cameras and programs write."""

import numpy as np
import pytest
from PIL import Image

from analysis.pictures import NoPicture, read_picture

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # from black to white


def test_what_is_grey_looks_the_same_in_eight_sixteen_and_thirty_two_bits(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "8.png")
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(RAMP.astype(np.int32) * 257).save(tmp_path / "32.tiff")
    Image.fromarray(RAMP.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    for name in ("8.png", "16.png", "32.tiff", "float.tiff"):
        found = np.asarray(read_picture(tmp_path / name, "L")).astype(int)
        assert np.abs(found - RAMP).max() <= 1, name


def test_what_can_be_seen_through_is_white_whatever_colour_it_hides(tmp_path):
    hidden = np.zeros((48, 64, 4), np.uint8)
    hidden[:, 32:] = (200, 0, 0, 255)
    Image.fromarray(hidden).save(tmp_path / "rgba.png")
    palette = Image.fromarray(hidden[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.info["transparency"] = palette.getpixel((0, 0))
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    for name in ("rgba.png", "palette.png"):
        found = np.asarray(read_picture(tmp_path / name))
        assert (found[:, :30] == 255).all(), name
        assert np.abs(found[:, 34:].astype(int) - (200, 0, 0)).max() <= 8, name


@pytest.mark.parametrize(
    ("mode", "name"), [("CMYK", "a.jpg"), ("L", "a.jpg"), ("1", "a.png"), ("P", "a.gif"), ("RGB", "a.webp")]
)
def test_other_modes_and_formats_are_read(mode, name, tmp_path):
    Image.fromarray(RAMP).convert("RGB").convert(mode).save(tmp_path / name)
    found = np.asarray(read_picture(tmp_path / name)).astype(int)
    assert found.shape == (48, 64, 3)
    assert found[:, -4:].mean() > found[:, :4].mean() + 150


def test_a_picture_of_one_pixel_is_one(tmp_path):
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "dot.png")
    assert np.asarray(read_picture(tmp_path / "dot.png")).tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clip.mp4", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"),
        ("photo.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"),
        ("notes.txt", b"hello"),
        ("empty.png", b""),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NoPicture):
        read_picture(tmp_path / name)


def test_a_picture_that_is_cut_short_is_none(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for length in (len(whole) // 2, len(whole) - 200, 40):
        (tmp_path / "short.png").write_bytes(whole[:length])
        with pytest.raises(NoPicture):
            read_picture(tmp_path / "short.png")
