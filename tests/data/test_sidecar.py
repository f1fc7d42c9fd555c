import json
import os

import pytest

from xnorlit.data import sidecar
from xnorlit.data.prepare import prepare
from xnorlit.errors import UserError


@pytest.fixture
def prepared(tree, tmp_path):
    return prepare(tree, tmp_path / "out", jpeg=0)["train"].path


def test_files_from_prepare_pass(prepared):
    opened, described = sidecar.verify(prepared)
    assert sidecar.listing(opened, described).sha256 == described.listing_sha256
    assert sidecar.listing(opened, described).counts() == described.counts


def test_a_changed_pixel_is_noticed_even_if_the_size_stays(prepared):
    content = bytearray(prepared.read_bytes())
    content[int(sidecar.verify(prepared)[0].samples["image"]["data_ptr"][5])] ^= 1
    prepared.write_bytes(content)
    sidecar.verify(prepared, pixels=False)
    with pytest.raises(UserError, match=r"train\.beton is not the file that train\.beton\.json describes: its SHA-256"):
        sidecar.verify(prepared)


def test_the_hash_is_computed_once(prepared, monkeypatch):
    sidecar.verify(prepared)
    monkeypatch.setattr(sidecar, "file_sha256", lambda path: pytest.fail("it hashed again"))
    sidecar.verify(prepared)


def test_a_touched_file_is_hashed_again(prepared, monkeypatch):
    hashed = []
    original = sidecar.file_sha256
    monkeypatch.setattr(sidecar, "file_sha256", lambda path: hashed.append(path) or original(path))
    os.utime(prepared, (1, 1))
    sidecar.verify(prepared)
    assert hashed == [prepared]


def test_another_beton_under_the_name_is_noticed(prepared):
    prepared.with_name("val.beton").replace(prepared)
    with pytest.raises(UserError, match="holds 15 samples in other classes than its sidecar's counts"):
        sidecar.verify(prepared)


def test_a_missing_sidecar_is_named(prepared):
    sidecar.path_of(prepared).unlink()
    with pytest.raises(UserError, match=r"train\.beton has no sidecar train\.beton\.json"):
        sidecar.verify(prepared)


@pytest.mark.parametrize(
    "content", ["", "{", "{}", json.dumps({"format": 9}), json.dumps({"format": 1, "new": 2}), "[]"]
)
def test_a_foreign_sidecar_is_refused(prepared, content):
    sidecar.path_of(prepared).write_text(content)
    with pytest.raises(UserError, match=r"train\.beton\.json.* Write it again with `xnorlit prepare SRC DST`"):
        sidecar.verify(prepared)
