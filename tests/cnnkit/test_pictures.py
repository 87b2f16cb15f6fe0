"""Pictures of all kinds, made from a real one, against what Pillow makes of them by itself."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from cnnkit.pictures import HAS_COLOUR, Unreadable, content_of, decode, short_side


@pytest.fixture(scope="module")
def photo(sample) -> Image.Image:
    """A real picture, 96 pixels wide and 64 high."""
    return Image.fromarray(np.moveaxis(sample.train.images[5], 0, -1)).resize((96, 64), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(image: Image.Image, size: int = 32) -> np.ndarray:
    return np.moveaxis(np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)), -1, 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_the_middle_square_is_what_pillow_makes_of_it(photo, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = decode(encoded(photo, kind, **options), 32, 3)
    assert picture.pixels.shape == (3, 32, 32)
    assert picture.remark == ""
    np.testing.assert_allclose(picture.pixels, plain(photo), atol=1)


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size_and_looks_the_same(photo):
    large = photo.resize((1536, 1024), Image.Resampling.BICUBIC)
    content = encoded(large, "JPEG", quality=95)
    picture = decode(content, 64, 3).pixels.astype(int)
    assert np.abs(picture - plain(Image.open(io.BytesIO(content)), 64)).mean() < 1.5


def test_a_picture_of_the_stored_size_is_kept_bit_for_bit(sample):
    pixels = sample.train.images[3]
    content = encoded(Image.fromarray(np.moveaxis(pixels, 0, -1)), "PNG")
    assert np.array_equal(decode(content, 32, 3).pixels, pixels)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_picture_is_turned_upright(photo, orientation):
    turned = photo.transpose(
        {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(turned, "JPEG", quality=100, subsampling=0, exif=exif), 64, 3).pixels.astype(int)
    assert np.abs(picture - plain(photo, 64)).mean() < 2


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256), "PNG"),
        (lambda image: image.convert("CMYK"), "JPEG"),
        (lambda image: image.convert("CMYK"), "TIFF"),
        (lambda image: image.convert("RGBA"), "PNG"),
        (lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
    ],
)
def test_other_kinds_of_colour_look_the_same(photo, change, kind):
    options = {"quality": 95} if kind == "JPEG" else {}
    picture = decode(encoded(change(photo), kind, **options), 64, 3)
    assert np.abs(picture.pixels.astype(int) - plain(photo, 64)).mean() < 6
    assert picture.remark == ""


def test_sixteen_bits_become_eight(photo):
    grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    picture = decode(encoded(Image.fromarray(grey), "PNG"), 64, 1)
    np.testing.assert_allclose(picture.pixels[0], np.asarray(photo.convert("L").crop((16, 0, 80, 64))), atol=1)


def test_what_is_transparent_is_white_and_said(photo):
    with_alpha = photo.convert("RGBA")
    with_alpha.putalpha(0)
    picture = decode(encoded(with_alpha, "PNG"), 32, 3)
    assert (picture.pixels == 255).all()
    assert picture.remark == "transparent, put on white"


def test_of_an_animation_the_first_frame_is_taken_and_said(photo):
    content = encoded(photo, "GIF", save_all=True, append_images=[ImageOps.invert(photo)])
    picture = decode(content, 64, 3)
    assert np.abs(picture.pixels.astype(int) - plain(photo, 64)).mean() < 10
    assert picture.remark == "animated, first frame taken"


def test_grey_pictures_are_known_by_their_heads_and_colour_that_is_lost_is_said(photo):
    assert short_side(encoded(photo, "PNG")) == (64, False)
    assert short_side(encoded(photo.convert("L"), "JPEG")) == (64, True)
    assert short_side(encoded(photo.convert("L").convert("P"), "PNG")) == (64, True)
    assert decode(encoded(photo, "PNG"), 32, 1).remark == HAS_COLOUR
    assert decode(encoded(photo.convert("L"), "PNG"), 32, 1).remark == ""
    assert decode(encoded(photo.convert("L"), "PNG"), 32, 3).pixels.shape == (3, 32, 32)


def bomb(size: int) -> bytes:
    """A PNG of a few bytes that says it has `size` x `size` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a picture"),
        (b"text", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n", "not a picture"),
        (bomb(60_000), "more pixels than are read"),
        (bomb(11_000), "11000x11000 pixels"),
        (bomb(500), "."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # as where many are decoded
def test_what_is_no_picture_is_said_in_a_few_words(content, words):
    with pytest.raises(Unreadable, match=words) as caught:
        decode(content, 32, 3)
    assert "\n" not in str(caught.value)


def test_decoding_leaves_pillows_own_limit_as_it_is(photo):
    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(encoded(photo, "PNG"), 16, 3), range(40)))
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_truncated_picture_is_unreadable(photo):
    content = encoded(photo, "JPEG")
    with pytest.raises(Unreadable, match="truncated"):
        decode(content[: len(content) // 2], 32, 3)


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing", "link to itself", "device"])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, kind):
    file = tmp_path / "x.png"
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "link to itself":
            file.symlink_to(file)
        case "device":
            file.symlink_to("/dev/zero")
    with pytest.raises(Unreadable):
        content_of(str(file))
