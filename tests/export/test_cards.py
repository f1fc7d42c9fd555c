"""The card of a trained network: its page, its times, and the machine that took them."""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.packed.tiny import NETWORKS, graph, tensors_of
from xnorlit.export import cards
from xnorlit.export.cards import machine, page, publish, sha256, times
from xnorlit.export.pack import write
from xnorlit.packed import trained
from xnorlit.packed.trained import Card

CARD = Card(
    network="net", method="XNOR, 1-bit", image_size=32, data="photos", train_images=48000, val_images=2000,
    listing_sha256="aa", licence="made here", recipe="r", remark="", command="xnorlit train", commit="0123456789abcdef",
    changed=False, epochs=20, train_seconds=150.0, trained_on="a processor, 2 threads", seeds={"0": 90.5, "1": 91.234},
    seed=0, twin=None, top1=90.456, top5=99.123, interval=(89.011, 91.999), differ=1234, ends="float", bytes=1234567,
    float_bytes=23456789, sha256="bb", milliseconds=0.25, load_milliseconds=1.5, measured_on="here", limits=["a", "b"],
)  # fmt: skip

PAGE = """# mine

Written by `xnorlit zoo RUN --name mine`.

| | |
|---|---|
| network | `net`, XNOR, 1-bit, 32 x 32 pixels |
| data | photos: 48,000 training images; measured on 2,000 others |
| licence of the data | made here |
| recipe | `r`, 20 epochs: `xnorlit train` |
| commit | `0123456789ab` |
| top-1 % | 90.46 [89.01, 92.00], of the packed network (95 % Wilson interval over images) |
| top-5 % | 99.12 |
| seeds, top-1 % | seed 0: 90.50, seed 1: 91.23 (training's own evaluation). The lowest seed, 0, is packed |
| packed and evaluated | the five likeliest, in order, differ for 1,234 of 2,000 images |
| size | 1,234,567 bytes, float ends; 23,456,789 in fp32 |
| time | 0.25 ms a picture, 1.5 ms to load: here |
| training | 2 minutes on a processor, 2 threads; other load unknown |
| sha256 | `bb` |

## Limits

- a
- b

```console
$ xnorlit classify mine photo.jpg
```
"""


def test_a_page_says_what_the_card_records():
    assert page(CARD, "mine") == PAGE
    more = page(replace(CARD, twin=93.456, changed=True, remark="from the float arm", commit=""), "mine")
    assert "(training's own evaluation); its float twin 93.46 (same seed). The lowest seed, 0, is packed" in more
    assert "`xnorlit train`; from the float arm |" in more
    assert "| commit | `not known`, with uncommitted changes |" in more
    files = page(replace(CARD, top1_of_files=90.456), "mine")
    assert "| top-1 % of the files | 90.46, as `xnorlit classify` reads the same images |" in files
    others = page(replace(CARD, top1_of_files=90.0), "mine")
    assert "| 90.00, as `xnorlit classify` reads the same images, whose pixels differ from " in others
    copied = page(replace(CARD, seeds={}, seed=1), "mine")
    assert "| seeds, top-1 % | seed 1 is packed; the run was copied, so other seeds are not known |" in copied


def test_the_network_and_both_files_of_its_card_are_written_whole(tmp_path):
    (tmp_path / "measured").write_bytes(b"bits")
    publish(tmp_path / "measured", CARD, "mine", tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["measured", "mine.json", "mine.md", "mine.safetensors"]
    assert (tmp_path / "mine.safetensors").read_bytes() == b"bits"
    assert (tmp_path / "mine.md").read_text() == PAGE
    text = (tmp_path / "mine.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == json.loads(json.dumps(asdict(CARD)))
    assert sha256(tmp_path / "mine.md") == hashlib.sha256(PAGE.encode()).hexdigest()


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_an_interrupted_network_is_not_listed_and_the_others_are(tmp_path, monkeypatch, renamed):
    (tmp_path / "measured").write_bytes(b"bits")
    zoo, rename, left = tmp_path / "zoo", Path.replace, iter(range(renamed))
    publish(tmp_path / "measured", CARD, "other", zoo)

    def interrupted(self, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    monkeypatch.setattr(trained, "FOLDER", zoo)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "measured", CARD, "mine", zoo)
    assert len(list(zoo.glob("*mine*"))) == renamed
    assert trained.list_trained() == ["other"]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (0.0, "idle machine"),
        (1.5, "idle machine"),  # this process, and half of another
        (1.6, "loaded machine, 1 other processes at work"),
        (4.0, "loaded machine, 3 other processes at work"),
    ],
)
def test_a_machine_is_busy_if_others_work_on_it(load, said, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    assert machine("a processor", "avx2") == f"a processor, avx2 kernels, 1 thread, {said}"


def test_the_times_are_medians_of_one_picture_and_of_loading(tmp_path, monkeypatch):
    given = graph(NETWORKS["signs"], classes=5)
    write(tmp_path / "net", given, tensors_of(given))
    clock, asked, loads, real = [0.0], [], [], cards.load

    class Watched:
        def __init__(self, file):
            loads.append(file)
            clock[0] += 0.002
            self.network = real(file)
            self.graph = self.network.graph

        def __call__(self, picture, *, threads):
            assert (picture.shape, picture.dtype, threads) == ((1, 8, 8, 3), np.uint8, 1)
            asked.append(self.network(picture, threads=threads))
            clock[0] += 0.00123456 * (50 if len(asked) == 1 else 1)  # the first call makes the plan

    monkeypatch.setattr(cards, "load", Watched)
    monkeypatch.setattr(cards, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert times(tmp_path / "net") == (1.235, 2.0)
    assert (len(asked), len(loads)) == (1 + 200, 1 + 20)
    assert np.ptp(asked[0]) > 0
