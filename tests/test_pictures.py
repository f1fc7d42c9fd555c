"""Every kind of picture file becomes the same upright RGB, and the box that validation shows of it."""

import pickle

import numpy as np
import pytest
from PIL import Image

from xnorlit import pictures
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


def test_cmyk_keeps_its_colours(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    read_back = read(tmp_path, Image.fromarray(red).convert("CMYK"), "image.jpg", quality=95)
    assert np.abs(read_back - red).max() < 12


def test_what_is_transparent_shows_white(tmp_path):
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


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"], ids=["empty", "garbage", "cut"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg cannot be read as an image: .*--skip-bad"):
        pictures.read_rgb(path)


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
