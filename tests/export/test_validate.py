"""`xnorlit validate --packed FILE` reports the packed network's accuracy, and only on the run's own data."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.export.conftest import VAL
from xnorlit import runs
from xnorlit.commands import main as cli
from xnorlit.export.measure import answers
from xnorlit.export.pack import pack, write
from xnorlit.export.rebuild import rebuild
from xnorlit.export.validation import on_engine
from xnorlit.packed import load

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def packed_once(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("packed") / "packed.safetensors"
    assert cli.main(["pack", str(run), "--out", str(file)]) == 0
    return file


@pytest.fixture
def packed(packed_once, tmp_path):
    """The run's packed file, which a test may rewrite."""
    return Path(shutil.copy(packed_once, tmp_path))


@pytest.fixture
def refused(xnorlit, run):
    """The error of validating the run's data with a file."""

    def call(file, *more):
        status, _, err = xnorlit("validate", "-c", run / "config.yaml", "--packed", file, *more)
        assert status == 2
        assert err.startswith("error: ")
        return err

    return call


def rewritten(file, **changes):
    """The file with another graph."""
    network = load(file)
    write(file, replace(network.graph, **changes), network.tensors)
    return file


def measured(out):
    """`{top1: 0.5, ...}` of Lightning's table."""
    return {key: float(value) for key, value in re.findall(r"val/(\w+) +│ +([\d.e-]+) ", out)}


def test_the_accuracy_is_the_packed_networks_beside_what_its_file_says(xnorlit, run, packed):
    status, out, err = xnorlit("validate", "-c", run / "config.yaml", "--packed", packed)
    assert (status, err) == (0, "")
    summary = runs.read(run).summary
    assert measured(out)["top1"] == pytest.approx(summary.top1, abs=1e-6)
    assert measured(out)["top5"] == pytest.approx(summary.top5, abs=1e-6)
    said = (
        f"top-1 {100 * summary.top1:.2f} %, top-5 {100 * summary.top5:.2f} % of {VAL} images of photos, the same ones"
    )
    assert said in out
    assert "runs/cifar10/pair-0/xnor/seed-0, last.ckpt of epoch 2" in out


def test_it_is_the_engine_that_is_measured(xnorlit, run, packed):
    """A file whose last layer always predicts one class reaches that class's share."""
    graph = load(packed).graph
    tensors = load(packed).tensors
    bias = np.where(np.arange(len(graph.classes)) == 2, np.float32(1e6), np.float32(0))
    write(packed, graph, {**tensors, "fc8.shift0": bias})
    status, out, _ = xnorlit("validate", "-c", run / "config.yaml", "--packed", packed)
    assert status == 0
    labels = runs.read(run).predictions.label
    assert measured(out)["top1"] == pytest.approx((labels == 2).mean(), abs=1e-6)


def test_its_logits_are_the_modules_to_rounding_and_its_five_likeliest_the_same(run, packed):
    found = runs.read(run)
    rebuilt = rebuild(found, found.checkpoint("last"))
    network = load(packed)
    for batch in rebuilt.data.val_dataloader():
        with torch.no_grad():
            expected = rebuilt.network(batch.images)
        torch.testing.assert_close(on_engine(network, batch.images), expected, rtol=1e-4, atol=1e-4)
    stored = found.predictions.top5
    assert np.array_equal(answers(lambda images: on_engine(network, images), rebuilt.data, "").top5, stored)


def test_other_images_are_reported(xnorlit, run, packed, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "fewer")
    next((tmp_path / "fewer" / "val" / "fox").iterdir()).unlink()
    _, out, _ = xnorlit(
        "validate", "-c", run / "config.yaml", "--packed", packed, f"--data.source={tmp_path / 'fewer'}"
    )
    assert f"of {VAL} images of photos, OTHER images than these" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ("ant", "bee", "cow", "dog", "elk", "fox")},
            "classes: number 2 is cow in the file, cat in the data",
        ),
        ({"mean": (1.0, 2.0, 3.0)}, "data.mean: [1.0, 2.0, 3.0] in the file, ["),
        ({"std": (1.0, 2.0, 3.0)}, "data.std: [1.0, 2.0, 3.0] in the file, ["),
        ({"crop": 0.875}, "data.val_crop (ratio, squash): (0.875, False) in the file, (1.0, False) in the data"),
    ],
)
def test_a_file_for_other_data_is_refused_with_the_values_that_differ(refused, packed, changes, message):
    said = refused(rewritten(packed, **changes))
    assert "packed.safetensors was packed for other data:\n" in said
    assert message in said
    assert said.count("\n  ") == 1, "nothing else differs"


def test_a_file_for_another_image_size_is_refused(refused, tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 16), torch.nn.Flatten())
    pack(network, tmp_path / "other", image_size=16, classes=list("abcdefg"), mean=[127] * 3, std=[64] * 3)
    said = refused(tmp_path / "other")
    assert "data.image_size: 16 in the file, 32 in the data" in said
    assert "classes: 7 in the file, 6 in the data" in said


def test_a_checkpoint_and_a_packed_file_at_once_are_refused(refused, run, packed):
    assert "--packed and --ckpt_path" in refused(packed, "--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert "cannot be read (No such file" in refused(packed.with_name("none"))


def test_only_validate_takes_a_packed_file(xnorlit, run, packed):
    status, _, err = xnorlit("predict", "-c", run / "config.yaml", "--packed", packed)
    assert status == 2
    assert "predict has no option --packed" in err


@pytest.mark.slow
def test_on_a_thousand_images_the_five_likeliest_are_those_of_training(xnorlit, tmp_path):
    words = ["train", "xnor", "--experiments", EXPERIMENTS, "--trainer.max_epochs", 1, "--run.root", tmp_path / "runs"]
    words += ["--run.wandb", "off", "--data.backend", "folder", "--trainer.limit_train_batches", 40]
    assert cli.main([str(word) for word in words]) == 0
    status, out, _ = xnorlit("pack", "--root", tmp_path / "runs")
    assert status == 0
    assert "the five likeliest, in order, differ for 0 of 1,000 images" in out
    path = tmp_path / "runs" / "synthetic" / "pair-0" / "xnor" / "seed-0"
    _, out, _ = xnorlit("validate", "-c", path / "config.yaml", "--packed", path / "packed.safetensors")
    assert measured(out)["top1"] == pytest.approx(runs.read(path).summary.top1, abs=1e-6)


def test_classes_whose_folders_are_numbers_are_packed_in_words(xnorlit, photos, tmp_path):
    """The network still belongs to those folders, so `validate` accepts it."""
    tree = tmp_path / "numbered"
    shutil.copytree(photos, tree)
    for split in ("train", "val"):
        (tree / split / "ant").rename(tree / split / "n01440764")
    settings = {
        "data.source": tree, "data.backend": "folder", "data.workers": 0, "data.batch_size": 8, "run.root": tmp_path,
        "run.wandb": "off", "trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "trainer.precision": "32-true",
    }  # fmt: skip
    recipes = ("-c", EXPERIMENTS / "cifar10" / "base.yaml", "-c", EXPERIMENTS / "cifar10" / "xnor.yaml")
    assert xnorlit("fit", *recipes, *(f"--{key}={value}" for key, value in settings.items()))[0] == 0
    run = tmp_path / "cifar10" / "pair-0" / "xnor" / "seed-0"
    assert xnorlit("pack", run)[0] == 0
    assert "tench" in load(run / "packed.safetensors").classes
    assert xnorlit("validate", "-c", run / "config.yaml", "--packed", run / "packed.safetensors")[0] == 0
