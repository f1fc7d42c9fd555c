"""`xnorlit pack` from the command line: its file, its messages, and its refusals."""

import re
import shlex
import shutil
from importlib.metadata import version

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.export.conftest import CLASSES, TRAIN, VAL
from tests.runs.factory import write_run
from xnorlit import runs
from xnorlit.export.rebuild import rebuild
from xnorlit.packed import load
from xnorlit.packed.origin import Source


@pytest.fixture
def mine(trained, tmp_path):
    """A copy of the runs that a test may damage."""
    shutil.copytree(trained, tmp_path / "runs", ignore=shutil.ignore_patterns("packed*"))
    return tmp_path / "runs"


@pytest.fixture
def refused(xnorlit, tmp_path):
    """Run a command line that is refused before anything is written; return its message."""

    def call(*words):
        before = sorted(tmp_path.rglob("*"))
        status, _, err = xnorlit("pack", *words)
        assert status == 2, err
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before, "nothing is half-written"
        return err

    return call


def test_the_newest_binary_run_is_packed_and_the_file_says_what_it_is(xnorlit, mine):
    status, out, err = xnorlit("pack", "--root", mine)
    assert (status, err) == (0, "")
    path = mine / "cifar10" / "pair-0" / "xnor" / "seed-0"
    assert f"{path}, the newest finished run with binary layers: last.ckpt, float ends" in out
    run, graph = runs.read(path), load(path / "packed.safetensors").graph
    assert graph.classes == CLASSES
    assert (graph.image_size, graph.crop, graph.squash) == (32, 1.0, False)
    commit, changed = run.environment.commit or "", run.environment.dirty
    place = "runs/cifar10/pair-0/xnor/seed-0"
    assert graph.source == Source("trained", place, "last.ckpt", 2, commit, changed, version("xnorlit"))
    accuracy = graph.accuracy
    assert (accuracy.images, accuracy.data, accuracy.split) == (VAL, "photos", "val")
    assert (accuracy.top1, accuracy.top5) == pytest.approx((run.summary.top1, run.summary.top5))
    assert accuracy.listing_sha256 == run.predictions.listing_sha256


def test_it_prints_size_accuracy_beside_trainings_and_what_to_type_next(xnorlit, run, tmp_path):
    file = tmp_path / "new folder" / "net.safetensors"
    status, out, _ = xnorlit("pack", run, "--out", file)
    assert status == 0
    size, binary, ratio = re.search(
        r"net\.safetensors: (\S+) MiB; its 6 binary layers (\S+) MiB, (\S+) times", out
    ).groups()
    assert float(size) == pytest.approx(file.stat().st_size / 2**20, rel=0.01)
    assert float(binary) < float(size)
    assert 28 < float(ratio) < 32
    top1 = 100 * runs.read(run).summary.top1
    assert re.search(rf"top-1 {top1:.2f} %, top-5 .* of {VAL} validation images, measured on the packed network", out)
    assert re.search(
        rf"top-1 {top1:.2f} %.*: training's own evaluation \(\+0\.00 points\); .* differ for 0 of {VAL}", out
    )
    assert f"xnorlit classify {shlex.quote(str(file))} PHOTO.jpg" in out, "the folder's name has a space"
    assert f"xnorlit bench {shlex.quote(str(file))}" in out
    assert [path.name for path in file.parent.iterdir()] == ["net.safetensors"]
    (tmp_path / "mine").touch()
    assert file.stat().st_mode == (tmp_path / "mine").stat().st_mode, "others may read it, too"


def test_a_checkpoint_whose_answers_the_run_did_not_store_is_measured_in_torch(xnorlit, mine):
    run = mine / "cifar10" / "pair-0" / "xnor" / "seed-0"
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, "epoch": 0}, run / "checkpoints" / "early.ckpt")
    status, out, _ = xnorlit("pack", run, "--checkpoint", run / "checkpoints" / "early.ckpt")
    assert status == 0
    assert re.search(rf"the module's evaluation of epoch 1, in torch .* differ for 0 of {VAL} images", out)
    source = load(run / "packed.safetensors").graph.source
    assert (source.checkpoint, source.epoch) == ("early.ckpt", 1)


def test_int8_ends_get_a_file_of_their_own_and_their_cost_is_printed(xnorlit, mine):
    status, out, _ = xnorlit("pack", "--root", mine, "--ends", "int8")
    assert status == 0
    run = mine / "cifar10" / "pair-0" / "xnor" / "seed-0"
    assert [file.name for file in run.glob("packed*")] == ["packed-int8.safetensors"]
    assert re.search(
        rf"with float ends \([+-]\d+\.\d\d points\); the five likeliest, in order, differ for \d+ of {VAL} images", out
    )
    forms = [layer.weights.form for layer in load(run / "packed-int8.safetensors").graph.layers]
    assert forms == ["int8", *["planes"] * 6, "int8"]


def test_calibration_sees_training_images_as_validation_would_show_them(run):
    found = runs.read(run)
    data = rebuild(found, found.checkpoint("last")).data
    pictures = data.spread_pictures("train", 6)
    first = Image.open(sorted((run.parents[4] / "photos" / "train" / "ant").iterdir())[0])
    side = min(first.size)
    left, top = ((whole - side) // 2 for whole in first.size)
    square = first.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(pictures[0], square)
    assert pictures.shape == (6, 32, 32, 3)
    assert np.array_equal(np.argsort(pictures.mean(axis=(1, 2, 3))), range(6)), "one of each class, in order"
    assert len(data.spread_pictures("train", 10**6)) == TRAIN


# --- random weights -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flag", ["--random-weights", "--or-random-weights"])
def test_random_weights_are_announced_on_the_terminal_and_in_the_file(xnorlit, tmp_path, flag):
    status, out, _ = xnorlit("pack", flag, "--network", "alexnet-small", "--root", tmp_path / "none")
    assert status == 0
    assert out.count("RANDOM WEIGHTS") == 2
    graph = load(tmp_path / "none" / "random-weights" / "alexnet-small.safetensors").graph
    assert graph.source == Source("random", xnorlit=version("xnorlit"))
    assert graph.accuracy is None


def test_random_weights_are_used_only_without_a_binary_run(xnorlit, mine):
    status, out, _ = xnorlit("pack", "--or-random-weights", "--root", mine)
    assert status == 0
    assert "RANDOM" not in out
    shutil.rmtree(mine / "cifar10" / "pair-0" / "xnor")
    status, out, _ = xnorlit("pack", "--or-random-weights", "--root", mine, "--network", "alexnet-small")
    assert status == 0
    assert f"{mine} has no finished run with binary layers" in out
    assert (mine / "random-weights" / "alexnet-small.safetensors").is_file()
    assert len(runs.find(mine)) == 1, "what was drawn is no run"


def test_random_weights_of_a_run_are_refused(refused, run):
    assert "Expected one of them" in refused(run, "--random-weights")
    assert "Did you mean alexnet-small?" in refused("--random-weights", "--network", "alexnet-smal")
    assert "--network goes with --random-weights or --or-random-weights." in refused(run, "--network", "alexnet-small")
    assert "--checkpoint goes with a run; --random-weights has none." in refused(
        "--random-weights", "--checkpoint=last"
    )


# --- refusals -------------------------------------------------------------------------------------------------------
def test_a_float_arm_has_nothing_to_pack(refused, mine):
    assert "has no binary layer, so there is nothing to pack" in refused(mine / "cifar10/pair-0/float/seed-0")
    shutil.rmtree(mine / "cifar10" / "pair-0" / "xnor")
    assert re.search(
        r"no finished run with binary layers\..*\n.*float/seed-0 has no binary layer", refused("--root", mine)
    )


def test_an_unfinished_run_or_no_run_at_all_is_named(refused, mine, tmp_path):
    path = write_run(tmp_path / "other", "xnor", finished=False)
    assert f"{path} is not finished" in refused(path)
    assert f"{path} is not finished" in refused("--root", tmp_path / "other")
    assert "is not a run" in refused(mine)
    assert "there is no run" in refused(tmp_path / "nothing")
    assert "there is no folder of runs" in refused("--root", tmp_path / "nothing")


def test_a_checkpoint_of_another_network_is_refused_with_what_differs(refused, mine, tmp_path):
    run = mine / "cifar10/pair-0/xnor/seed-0"
    assert re.search(
        r"no checkpoint .*Expected best, last or a file; .* has: best\.ckpt, last\.ckpt",
        refused(run, "--checkpoint", "first"),
    )
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    state = content["state_dict"]
    state["net.fc8.linear.weight"] = torch.zeros(9, 256)
    state["net.more"] = state.pop("net.conv1.conv.weight")
    torch.save(content, tmp_path / "other.ckpt")
    message = refused(run, "--checkpoint", tmp_path / "other.ckpt")
    assert f"other.ckpt does not belong to {run}: " in message
    assert "3 tensors differ" in message
    assert re.search(r"net\.fc8\.linear\.weight: checkpoint \(9, 256\), network \(6, \d+\)", message)


def test_a_file_with_code_is_not_a_checkpoint(refused, run, tmp_path):
    torch.save({"state_dict": {"weight": shutil.rmtree}}, tmp_path / "code.ckpt")
    assert "code besides weights" in refused(run, "--checkpoint", tmp_path / "code.ckpt")


def change(run, section, **settings):
    """Change settings in a section of the run's configuration."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= settings
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_network_that_cannot_be_packed_is_refused_by_its_layers_name(refused, mine):
    run = mine / "cifar10/pair-0/xnor/seed-0"
    change(run, "model", layers={"conv1": {"class_path": "xnorlit.binarize.xnor.XNOR"}})
    assert "error: conv1 cannot be packed: XNOR " in refused(run)


def test_a_validation_that_is_not_a_central_crop_is_refused(refused, mine):
    run = mine / "cifar10/pair-0/xnor/seed-0"
    change(run, "data", val_crop={"class_path": "xnorlit.data.PadCrop"})
    assert "a packed file has a central crop" in refused(run)


def test_missing_images_are_named(refused, mine):
    run = mine / "cifar10/pair-0/xnor/seed-0"
    change(run, "data", source="gone/photos")
    assert re.search(r"the images of .*seed-0 are needed to measure .*gone/photos", refused(run))


def test_settings_of_another_version_are_named(refused, mine):
    run = mine / "cifar10/pair-0/xnor/seed-0"
    change(run, "model", from_the_future=1)
    assert re.search(
        r"config\.yaml has settings that this version does not know: .*from_the_future", refused(run), re.S
    )
