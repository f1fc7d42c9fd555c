import numpy as np
import pytest

from tests.data.pictures import jpeg, photographs, write_beton
from xnorlit.data import beton
from xnorlit.errors import UserError


@pytest.fixture
def whole(tmp_path):
    return write_beton(tmp_path / "whole.beton", photographs()).path


def test_written_values_are_read_back(tmp_path):
    images = photographs()
    opened = write_beton(tmp_path / "a.beton", images)
    assert opened.labels.tolist() == [index % 3 for index in range(60)]
    assert set(opened.heights) == set(opened.widths) == {16}
    stored = opened.path.read_bytes()
    for image, sample, size in zip(images, opened.samples, opened.sizes, strict=True):
        start = int(sample["image"]["data_ptr"])
        assert stored[start : start + size] == image.tobytes()


def test_equal_inputs_give_equal_bytes(tmp_path):
    first, second = (write_beton(tmp_path / name, photographs()).path for name in ("a.beton", "b.beton"))
    assert first.read_bytes() == second.read_bytes()


def test_an_image_never_crosses_a_page(tmp_path):
    opened = write_beton(tmp_path / "a.beton", [np.zeros((1000, 1000, 3), np.uint8)] * 7)
    pointers = opened.samples["image"]["data_ptr"].astype(int)
    assert (pointers // beton.PAGE_BYTES == (pointers + opened.sizes - 1) // beton.PAGE_BYTES).all()


def test_an_image_larger_than_a_page_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"8\.6 MiB \(3000 x 1000\), more than a page of 8 MiB.*--shorter-side"):
        write_beton(tmp_path / "a.beton", [np.zeros((1000, 3000, 3), np.uint8)])


@pytest.mark.ffcv
def test_the_format_is_ffcvs():
    pytest.importorskip("xnorlit.data.ffcv_reader")
    from ffcv import types
    from ffcv.fields import IntField, RGBImageField

    assert types.CURRENT_VERSION == beton.VERSION
    for ours, theirs in (
        (beton.HEADER, types.HeaderType),
        (beton.FIELD, types.FieldDescType),
        (beton.ALLOCATION, types.ALLOC_TABLE_TYPE),
    ):
        assert [ours.fields[name][1] for name in ours.names] == [theirs.fields[name][1] for name in theirs.names]
        assert ours.itemsize == theirs.itemsize
    sample = types.get_metadata_type([RGBImageField(), IntField()])
    assert (beton.SAMPLE.itemsize, beton.IMAGE) == (sample.itemsize, sample["f0"])
    assert [beton.SAMPLE.fields[name][1] for name in ("image", "label")] == [sample.fields[n][1] for n in ("f0", "f1")]
    assert [types.TYPE_ID_HANDLER[kind] for _, kind in beton.FIELDS] == [RGBImageField, IntField]


@pytest.mark.ffcv
def test_ffcv_reads_what_was_written(whole):
    pytest.importorskip("xnorlit.data.ffcv_reader")
    from ffcv.reader import Reader

    reader = Reader(str(whole))
    assert list(reader.handlers) == ["image", "label"]
    assert reader.num_samples == 60
    assert reader.metadata["f1"].tolist() == beton.open_beton(whole).labels.tolist()


@pytest.mark.ffcv
def test_a_file_of_ffcvs_own_writer_is_read(tmp_path):
    pytest.importorskip("xnorlit.data.ffcv_reader")
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    path = tmp_path / "theirs.beton"
    fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
    images = photographs(9)
    DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(list(zip(images, range(9), strict=True)))
    opened = beton.open_beton(path)
    assert opened.labels.tolist() == list(range(9))
    assert set(opened.samples["image"]["mode"]) == {beton.JPEG}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.999])
def test_a_truncated_packed_file_is_refused(whole, share):
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"whole\.beton is not a complete \.beton file: .*bytes.*xnorlit prepare"):
        beton.open_beton(whole)


def test_garbage_is_refused(whole):
    whole.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UserError, match="does not start like one of version 2"):
        beton.open_beton(whole)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.beton is missing.*xnorlit prepare SRC DST"):
        beton.open_beton(tmp_path / "none.beton")


def test_other_fields_are_named(whole):
    content = bytearray(whole.read_bytes())
    start = beton.HEADER.itemsize + beton.FIELD.itemsize
    content[start : start + 7] = b"\x00target"
    whole.write_bytes(content)
    with pytest.raises(UserError, match=r"other fields: image \(type 2\), target \(type 0\)\. Expected image .* label"):
        beton.open_beton(whole)


def test_an_unfinished_header_is_refused(whole):
    content = bytearray(whole.read_bytes())
    content[16:24] = bytes(8)
    whole.write_bytes(content)
    with pytest.raises(UserError, match="its header was never finished"):
        beton.open_beton(whole)


@pytest.mark.parametrize("offset", [0, 1, 3, 5], ids=["mode", "width", "height", "pointer"])
def test_an_invalid_entry_is_refused(whole, offset):
    content = bytearray(whole.read_bytes())
    start = beton.METADATA_START + 7 * beton.SAMPLE.itemsize + offset
    content[start] ^= 0x55
    whole.write_bytes(content)
    with pytest.raises(UserError, match="sample 7"):
        beton.open_beton(whole)


def test_jpegs_are_stored_as_they_came(tmp_path):
    images = photographs(5)
    opened = write_beton(tmp_path / "a.beton", images, beton.JPEG)
    assert opened.sizes.tolist() == [len(jpeg(image)) for image in images]
