"""`xnorlit plan` estimates a recipe's training, and lists its assumptions and what is missing."""

import json
from pathlib import Path

import pytest

from xnorlit.commands.main import main

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
IMAGENET = ["-c", str(EXPERIMENTS / "imagenet/base.yaml"), "-c", str(EXPERIMENTS / "imagenet/xnor.yaml")]


@pytest.fixture
def plan(capsys):
    """Run the command; return its status, output and error."""

    def run(*words):
        status = main(["plan", *words])
        return status, *capsys.readouterr()

    return run


def test_the_recipe_of_the_paper_on_eight_gpus(plan):
    status, out, _ = plan(*IMAGENET, "--gpus", "8", "--gpu", "h100")
    assert status == 0
    for word in ("8 x h100", "images/s", "cores per GPU", "limited by", "nothing was measured", "ASSUMED"):
        assert word in out


def test_each_gpu_has_batches_of_its_own_unless_the_recipe_has_global_ones(plan, tmp_path):
    def images(more):
        (tmp_path / "more.yaml").write_text(more)
        out = plan(*IMAGENET, "-c", str(tmp_path / "more.yaml"), "--gpus", "8", "--json")[1]
        return next(each["value"] for each in json.loads(out)["assumptions"] if each["what"] == "images of a step")

    assert images("data: {batch_size: 100}") == "800"
    assert images("data: {batch_size: 100}\ntrainer: {accumulate_grad_batches: 2}") == "1,600"
    assert images("data: {batch_size: 100, global_batch: 400}") == "400"


def test_the_network_is_that_of_the_images(plan):
    files = ["-c", str(EXPERIMENTS / "cifar10/base.yaml"), "-c", str(EXPERIMENTS / "cifar10/xnor.yaml")]
    found = json.loads(plan(*files, "--json")[1])["assumptions"]
    assert next(each["value"] for each in found if each["what"] == "parameters") == "1,472,650"


def test_an_epoch_is_as_long_as_the_recipe_makes_it(plan):
    whole = json.loads(plan(*IMAGENET, "--step", "1000", "--json")[1])
    assert whole["hours"] == pytest.approx(55 * 1500 * 800 / 1000 / 3600)
    few = json.loads(plan(*IMAGENET, "--step", "1000", "--images", "10000", "--json")[1])
    assert few["hours"] == pytest.approx(55 * 10000 / 1000 / 3600)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--share", "0"], "--share is 0. Expected a share"),
        (["--step", "-1"], "--step is -1. Expected more than 0"),
        (["--gpu", "h200"], "--gpu"),
        (["-c", "half.yaml"], "lacks trainer.max_epochs"),
        (["-c", "photos.yaml"], "the number of training images of photos is unknown. Give --images"),
    ],
)
def test_unknown_values_are_requested(plan, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("half.yaml").write_text("data: {source: imagenet, image_size: 224}")
    Path("photos.yaml").write_text("trainer: {max_epochs: 3}\ndata: {source: photos, batch_size: 8}")
    recipe = [] if "-c" in words else IMAGENET
    status, _, error = plan(*recipe, *words)
    assert status == 2
    assert message in error
