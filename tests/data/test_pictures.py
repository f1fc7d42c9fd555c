"""Every kind of picture file becomes the same upright RGB image, cropped as in validation."""

import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from xnorlit.data import pictures
from xnorlit.errors import UserError

RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))  # 8 rows of 0, 16, ..., 240


def read(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return np.asarray(pictures.read_rgb(tmp_path / name)).astype(int)


def test_grey_becomes_three_equal_channels(tmp_path):
    read_back = read(tmp_path, Image.fromarray(RAMP))
    assert read_back.shape == (8, 16, 3)
    assert (read_back == RAMP[..., None]).all()


def test_one_bit_is_black_and_white(tmp_path):
    assert set(np.unique(read(tmp_path, Image.fromarray(RAMP).point(lambda v: v > 99, mode="1")))) == {0, 255}


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    wide = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    assert (read(tmp_path, Image.fromarray(wide)) == RAMP[..., None]).all()
    assert (read(tmp_path, Image.fromarray(wide), "image.tif") == RAMP[..., None]).all()


def tiff(bits, content, kind=1, black=1):
    """A grey TIFF of 4 x 4 pixels; `kind` 2 is signed, and 0 is white where `black` is 0."""
    tags = {256: 4, 257: 4, 258: bits, 259: 1, 262: black, 273: 8, 277: 1, 278: 4, 279: len(content), 339: kind}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + struct.pack("<H", len(tags)) + rows + bytes(4)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff(12, b"\xff\xff\xff" * 8), 255),  # two pixels in three bytes
        (tiff(12, b"\x80\x00\x00" * 8), [128, 0] * 8),  # 2048 and 0
        (tiff(16, b"\xff\xff" * 16), 255),
        (tiff(16, b"\x00\x80" * 16), 128),
        (tiff(16, b"\xff\xff\x00\x80" * 8, black=0), [0, 127] * 8),
        (tiff(16, struct.pack("<h", 25700) * 16, kind=2), 100),
        (tiff(32, struct.pack("<I", 25700) * 16), 100),
        (tiff(32, struct.pack("<I", 200) * 16), 200),  # only 8 bits are used
    ],
)
def test_grey_of_more_than_eight_bits_is_scaled_by_its_own_bits(tmp_path, content, expected):
    (tmp_path / "grey.tif").write_bytes(content)
    found = np.asarray(pictures.read_rgb(tmp_path / "grey.tif"))
    assert (found == np.broadcast_to(expected, 16).reshape(4, 4, 1)).all()


@pytest.mark.parametrize(
    "content",
    [
        tiff(32, b"\xff" * 64),
        tiff(32, struct.pack("<I", 65536) * 16),
        tiff(16, struct.pack("<h", -5) * 16, kind=2),
    ],
)
def test_grey_beyond_sixteen_bits_is_refused(tmp_path, content):
    (tmp_path / "wide.tif").write_bytes(content)
    with pytest.raises(pictures.UnreadableImageError, match=r"wide\.tif.*below 0 or above 65535"):
        pictures.read_rgb(tmp_path / "wide.tif")


def png(bits, colour, row, transparent):
    """A PNG of one row of pixels, two or more; `colour` is 0 for grey and 2 for RGB."""
    width = 8 * len(row) // (bits * (3 if colour else 1))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0),
        b"tRNS": struct.pack(f">{len(transparent)}H", *transparent),
        b"IDAT": zlib.compress(b"\0" + row),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )


@pytest.mark.parametrize(
    ("bits", "colour", "row", "clear", "expected"),
    [
        (1, 0, b"\x55", [0], [255] * 8),
        (2, 0, b"\x1b", [2], [0, 85, 255, 255]),
        (4, 0, b"\x0a\x5f", [10], [0, 255, 85, 255]),
        (8, 0, b"\x0a\xc8", [10], [255, 200]),
        (16, 0, struct.pack(">4H", 40000, 0, 40001, 257), [40000], [255, 0, 156, 1]),
        (16, 0, struct.pack(">2H", 0, 257), [0], [255, 1]),
        (8, 2, bytes([9, 10, 11, 9, 10, 12]), [9, 10, 11], [[255] * 3, [9, 10, 12]]),
        (16, 2, struct.pack(">6H", 40000, 500, 9, 64, 244, 9), [40000, 500, 9], [[255] * 3, [0, 0, 0]]),
    ],
)
def test_a_transparent_value_is_that_of_the_file(tmp_path, bits, colour, row, clear, expected):
    (tmp_path / "clear.png").write_bytes(png(bits, colour, row, clear))
    found = np.asarray(pictures.read_rgb(tmp_path / "clear.png"))[0]
    assert found.tolist() == [each if isinstance(each, list) else [each] * 3 for each in expected]


def test_cmyk_keeps_its_colours(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    read_back = read(tmp_path, Image.fromarray(red).convert("CMYK"), "image.jpg", quality=95)
    assert np.abs(read_back - red).max() < 12


def test_transparent_pixels_become_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (200, 10, 20, 255)
    read_back = read(tmp_path, Image.fromarray(rgba, "RGBA"))
    assert (read_back[:2] == (200, 10, 20)).all()
    assert (read_back[2:] == 255).all()
    grey = np.zeros((4, 4, 2), np.uint8)
    grey[:2] = (70, 255)
    assert read(tmp_path, Image.fromarray(grey, "LA"))[[0, 3], 0].tolist() == [[70] * 3, [255] * 3]


def test_a_palette_is_looked_up(tmp_path):
    indexed = Image.fromarray(RAMP).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    assert np.abs(read(tmp_path, indexed, "image.gif") - RAMP[..., None]).max() < 8


def test_a_rotated_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    stored = Image.fromarray(np.tile(RAMP, (8, 2)))
    upright = read(tmp_path, stored, "image.jpg", exif=exif, quality=95)
    assert upright.shape == (32, 64, 3)
    assert np.abs(upright[..., 0] - np.asarray(stored.rotate(-90, expand=True)).astype(int)).max() < 12


def exif_of(*tags):
    """The bytes of an EXIF block: little-endian, one directory of (tag, type, count, four bytes of value)."""
    rows = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + rows + bytes(4)


TURNED = (0x0112, 3, 1, b"\6\0\0\0")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (exif_of((0x011A, 2, 4, b"72x\0"), TURNED), True),  # an x-resolution that is text
        (exif_of((0x011B, 3, 1, b"\7\0\0\0"), TURNED), True),  # ... that is no fraction
        (exif_of((0x010F, 2, 4, b"\xff\xfe\0\0"), TURNED), True),  # a maker whose name is no text
        (exif_of((0x9286, 99, 4, b"abcd"), TURNED), True),  # a value of no type
        (exif_of(TURNED, (0x8769, 4, 1, b"\x08\0\0\0")), True),  # a directory that is its own child
        (exif_of(TURNED, (0x8825, 4, 1, b"\xff\xff\xff\x7f")), True),  # ... that lies beyond the file
        (exif_of((0x0112, 2, 2, b"6\0\0\0")), False),  # an orientation that is text
        (exif_of((0x0112, 3, 1, b"\x09\0\0\0")), False),  # ... beyond 8
        (exif_of((0x0112, 3, 0xFFFFFFFF, b"\6\0\0\0")), False),  # ... of four billion numbers
        (b"Exif\0\0II*\0", False),  # cut
        (b"Exif\0\0MM\0", False),
        (b"Exif\0\0" + bytes(range(256)), False),
    ],
)
def test_invalid_metadata_is_ignored(tmp_path, exif, turned):
    """Every viewer shows these pictures."""
    path = tmp_path / "odd.jpg"
    stored = Image.fromarray(np.tile(RAMP, (8, 2))).convert("RGB")
    stored.save(path, exif=exif, quality=95)
    shown = np.asarray(pictures.read_rgb(path)).astype(int)
    expected = np.asarray(stored.rotate(-90, expand=True) if turned else stored).astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).max() < 12


@pytest.mark.parametrize(
    ("said", "turned"), [(IFDRational(6), True), (6.0, True), (True, False), ("6", False), ((6,), False), (None, False)]
)
def test_an_orientation_of_any_kind_of_number_is_understood(tmp_path, monkeypatch, said, turned):
    Image.new("RGB", (4, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "getexif", lambda _: {0x0112: said})
    assert pictures.read_rgb(tmp_path / "a.png").size == ((8, 4) if turned else (4, 8))


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_each_orientation_is_turned_as_pillow_turns_it(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{kind}"
    Image.fromarray(np.arange(240, dtype=np.uint8).reshape(8, 10, 3)).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(np.asarray(pictures.read_rgb(path)), expected)


@pytest.mark.parametrize(
    "error", [TypeError("a"), struct.error("b"), ZeroDivisionError(), MemoryError(), RecursionError()]
)
def test_whatever_a_plug_in_raises_names_the_file(tmp_path, monkeypatch, error):
    Image.new("RGB", (4, 4)).save(tmp_path / "odd.png")

    def fail(*_):
        raise error

    monkeypatch.setattr(pictures, "to_rgb", fail)
    with pytest.raises(pictures.UnreadableImageError, match=r"odd\.png cannot be read as an image: \w"):
        pictures.read_rgb(tmp_path / "odd.png")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(pictures.UnreadableImageError, match=r"pipe\.png .* pipe, socket or device"):
        pictures.read_rgb(tmp_path / "pipe.png")


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"], ids=["empty", "garbage", "cut"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    for coarse in (False, True):
        with pytest.raises(UserError, match=r"broken\.jpg cannot be read as an image: .*--skip-bad"):
            pictures.read_rgb(path, coarse=coarse)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b"not an image"), "not a picture of a kind that Pillow reads"),
        (lambda path: path.mkdir(), "Is a directory"),
    ],
)
def test_the_reason_is_known_apart_from_the_name_and_survives_a_worker_process(tmp_path, write, reason):
    write(tmp_path / "broken.jpg")
    with pytest.raises(pictures.UnreadableImageError) as caught:
        pictures.read_rgb(tmp_path / "broken.jpg")
    received = pickle.loads(pickle.dumps(caught.value))
    assert (received.reason, str(received)) == (reason, str(caught.value))


def test_a_central_box_by_hand():
    heights, widths = np.array([10, 100, 7, 1]), np.array([20, 50, 7, 9])
    assert pictures.central(heights, widths, 1.0, False).T.tolist() == [
        [0, 5, 10, 10],
        [25, 0, 50, 50],
        [0, 0, 7, 7],
        [0, 4, 1, 1],
    ]
    assert pictures.central(heights, widths, 0.5, False).T.tolist() == [
        [2, 7, 5, 5],
        [37, 12, 25, 25],
        [1, 1, 4, 4],
        [0, 4, 1, 1],
    ]
    assert pictures.central(heights, widths, 0.5, True)[:, 0].tolist() == [2, 5, 5, 10]
