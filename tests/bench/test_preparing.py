"""The benchmark of `prepare` at scale."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from xnorlit.bench.preparing import blow_up
from xnorlit.errors import UserError


@pytest.fixture
def photos(tmp_path):
    for name, count in {"cat": 3, "dog": 1, "elk": 2}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 32), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.jpg")
    return tmp_path / "photos"


def test_images_repeat_until_there_are_enough_entries_of_every_class(photos, tmp_path):
    blow_up(photos, 14, tmp_path / "tree")
    links = sorted((tmp_path / "tree" / "train").glob("*/*"))
    assert len(links) == 14
    assert len({link.resolve() for link in links}) == 6
    assert {link.parent.name: link.resolve().parent.name for link in links} == {
        "cat": "cat",
        "dog": "dog",
        "elk": "elk",
    }
    assert sorted(link.parent.name for link in (tmp_path / "tree" / "val").glob("*/*")) == ["cat", "dog", "elk"]


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no class folders with images\. Give the train/ folder"):
        blow_up(tmp_path, 14, tmp_path / "tree")


@pytest.mark.slow
@pytest.mark.ffcv
def test_both_writers_and_the_loader_are_measured(photos, tmp_path):
    pytest.importorskip("ffcv")
    out = tmp_path / "found.json"
    words = ["-m", "xnorlit.bench.preparing", photos, "--entries", "64", "--scratch", tmp_path, "--json", out]
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True, timeout=300)
    (found,) = json.loads(out.read_text())
    assert found.pop("entries") == 64
    assert min(found.values()) > 0
