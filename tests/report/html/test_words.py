"""Classes whose folders are WordNet ids are shown as words."""

from xnorlit.report.html.record import _in_words


def test_the_classes_of_each_gap_are_in_words():
    written = {"gaps": [{"classes": [{"name": "n01440764", "images": 3}, {"name": "cat", "images": 2}]}]}
    names = [part["name"] for part in _in_words(written)["gaps"][0]["classes"]]
    assert names == ["tench", "cat"]
