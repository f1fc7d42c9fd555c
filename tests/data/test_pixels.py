import numpy as np
import pytest
from PIL import Image

from xnorlit.data import pixels
from xnorlit.data.augment import PLACEMENT, CentreCrop, Sizes, View
from xnorlit.errors import UserError

RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))  # 8 rows of 0, 16, ..., 240


def row(**values):
    rows = np.zeros(1, PLACEMENT)
    for name, value in values.items():
        rows[name] = value
    return rows[0]


def read(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return np.asarray(pixels.read_rgb(tmp_path / name)).astype(int)


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
    pixels_ = np.zeros((4, 4, 4), np.uint8)
    pixels_[:2] = (200, 10, 20, 255)
    read_back = read(tmp_path, Image.fromarray(pixels_, "RGBA"))
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


def test_a_single_pixel_fills_the_picture():
    pixel = Image.new("RGB", (1, 1), (10, 20, 30))
    placed = View(CentreCrop(0.875), False, 32).place(np.arange(1), 0, Sizes(np.array([1]), np.array([1])))[0]
    assert (pixels.render(pixel, placed, 32, reflect=False) == (10, 20, 30)).all()


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"], ids=["empty", "garbage", "cut"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg cannot be read as an image: .*--skip-bad"):
        pixels.read_rgb(path)


def test_a_placement_of_the_whole_image_leaves_it_alone():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    whole = row(height=8, width=8)
    assert np.array_equal(pixels.render(Image.fromarray(image), whole, 8, reflect=False), image)


@pytest.mark.parametrize("reflect", [False, True])
def test_a_shift_shows_what_padding_and_cutting_shows(reflect):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for down, right, flip in [(3, -2, 0), (-3, 0, 1), (0, 3, 1), (0, 0, 1)]:
        moved = row(height=8, width=8, down=down, right=right, flip=flip)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect" if reflect else "constant")
        expected = padded[4 + down : 12 + down, 4 + right : 12 + right][:, :: -1 if flip else 1]
        assert np.array_equal(pixels.render(Image.fromarray(image), moved, 8, reflect), expected)


def test_a_box_is_cut_before_it_is_resized():
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:48, 32:64] = 200
    placed = row(top=16, left=32, height=32, width=32)
    assert (pixels.render(Image.fromarray(image), placed, 16, reflect=False) == 200).all()
