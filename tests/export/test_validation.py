"""A packed file is measured on the images that it was packed for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.packed.tiny import NETWORKS, graph, tensors_of
from xnorlit.data import CentreCrop, PadCrop
from xnorlit.errors import UserError
from xnorlit.export.pack import write
from xnorlit.export.validation import PackedClassifier, on_engine, refuse_other_data
from xnorlit.packed import PackedNetwork
from xnorlit.packed.graph import Accuracy
from xnorlit.packed.origin import Source

GIVEN = graph(NETWORKS["signs"], classes=5)
CLASSES = tuple(f"class {i}" for i in range(5))


def data(**changed):
    made = {"image_size": 8, "mean": (128.00001,) * 3, "std": (64,) * 3, "val_crop": CentreCrop(1.0), "num_classes": 5}
    return SimpleNamespace(**(made | {"classes": CLASSES, "listing_hash": lambda _: "aa"} | changed))


def test_the_images_of_its_run_are_the_same():
    refuse_other_data(GIVEN, data(), "net")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_size": 9}, "data.image_size: 8 in the file, 9 in the data"),
        ({"mean": (128, 128, 128.001)}, "data.mean: [128.0, 128.0, 128.0] in the file, [128.0, 128.0, 128.001] in the"),
        ({"std": (64, 65, 64)}, "data.std: [64.0, 64.0, 64.0] in the file, [64.0, 65.0, 64.0] in the data"),
        ({"val_crop": CentreCrop(0.5)}, "data.val_crop (ratio, squash): (1.0, False) in the file, (0.5, False) in the"),
        ({"val_crop": PadCrop()}, "data.val_crop (ratio, squash): (1.0, False) in the file, PadCrop"),
        ({"classes": CLASSES[:4]}, "classes: 5 in the file, 4 in the data"),
        ({"classes": ("class 0", "b", "c", "class 3", "x")}, "classes: number 1 is class 1 in the file, b in the data"),
    ],
)
def test_each_difference_is_one_line(changed, said):
    with pytest.raises(UserError) as refusal:
        refuse_other_data(GIVEN, data(**changed), "net")
    first, *lines, last = str(refusal.value).splitlines()
    assert first == "net was packed for other data:"
    assert len(lines) == 1
    assert lines[0].startswith(f"  {said}")
    assert last == "Give the configuration of its run, -c RUN/config.yaml, or pack this run: xnorlit pack RUN."


def test_two_classes_are_shown_in_full():
    given = graph(NETWORKS["signs"], classes=2)
    with pytest.raises(UserError, match=r"classes: \('class 0', 'class 1'\) in the file, \('a', 'b'\) in the data"):
        refuse_other_data(given, data(classes=("a", "b")), "net")


def test_images_of_torch_are_turned_for_the_engine():
    tensors = tensors_of(GIVEN)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    network = PackedNetwork(GIVEN, tensors)
    found = on_engine(network, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(found.numpy(), network(pixels))


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (None, "net, no run: no accuracy was measured when it was packed"),
        (Accuracy(152 / 1234, 838 / 1234, 1234, "photos", "val", "aa"),
         "when it was packed: top-1 12.32 %, top-5 67.91 % of 1,234 images of photos, the same ones"),
        (Accuracy(1.0, 1.0, 1, "photos", "val", "bb"), "top-1 100.00 %, top-5 100.00 % of 1 images of photos, OTHER"),
    ],
)  # fmt: skip
def test_the_accuracy_of_its_packing_is_told(accuracy, said, tmp_path, capsys):
    given = replace(GIVEN, accuracy=accuracy, source=Source("trained", xnorlit="0"))
    write(tmp_path / "net", given, tensors_of(given))
    module = PackedClassifier(tmp_path / "net")
    module._trainer = SimpleNamespace(datamodule=data())
    module.configure_model()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert module(images).shape == (2, 5)
    module.say_what_the_file_says()
    assert said.replace("net, no run", f"{tmp_path / 'net'}, {given.source.words}") in " ".join(
        capsys.readouterr().out.split()
    ).replace("[packed] ", "")
