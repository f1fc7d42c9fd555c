"""Weights from other classes, or a resume with other images, are refused."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tests.compat import tiny
from tests.data.interpreted import interpret
from xnorlit.commands.main import main
from xnorlit.errors import UserError
from xnorlit.training.trained_on import refuse_other_classes

CLASSES = ("ant", "bee", "cat")
RUN = "runs/e/pair-0/xnor/seed-0"
SETTINGS = {
    "run.experiment": "e", "run.arm": "xnor", "run.wandb": "off", "seed_everything": 0,
    "model.network": "compat-tiny", "model.binarizer": "XNOR", "trainer.max_epochs": 1, "trainer.precision": "32-true",
    "data.source": "photos", "data.backend": "folder", "data.image_size": 16, "data.batch_size": 4, "data.workers": 0,
}  # fmt: skip
FIT = ["fit", *(f"--{key}={value}" for key, value in SETTINGS.items())]
VALIDATE = ["validate", "-c", f"{RUN}/config.yaml", "--ckpt_path", f"{RUN}/checkpoints/last.ckpt"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run beside its images."""
    home = tmp_path_factory.mktemp("trained")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for index in range(count):
            folder = home / "photos" / split / CLASSES[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 100, (16, 16, 3)) + 70 * (index % 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    with pytest.MonkeyPatch.context() as kept:
        tiny.register(kept.setattr)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            patch.setattr(sys, "argv", ["xnorlit"])
            assert main(FIT) == 0
        yield home


@pytest.fixture
def home(trained, tmp_path, monkeypatch):
    """The current folder, with a copy of the run and its images that a test may change."""
    shutil.copytree(trained, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr(sys, "argv", ["xnorlit"])
    return tmp_path / "home"


def rename(home, old, new):
    for split in ("train", "val"):
        (home / "photos" / split / old).rename(home / "photos" / split / new)


def swap(home):
    rename(home, "ant", "x")
    rename(home, "bee", "ant")
    rename(home, "x", "bee")


def killed_in_the_last_second(home):
    (home / RUN / "summary.json").unlink()


def refused(capsys, *words):
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "predict", "test"])
def test_other_classes_are_refused_when_a_checkpoint_is_measured(home, capsys, command):
    rename(home, "bee", "wasp")
    said = refused(capsys, command, *VALIDATE[1:])
    assert "the checkpoint was trained on 3 classes, but the images have 3 (only there: bee; only here: wasp)" in said
    assert "val/top1" not in said


def test_initial_weights_must_have_the_same_classes(home, capsys):
    rename(home, "ant", "zebra")  # so every label belongs to another class
    said = refused(capsys, *FIT, "--run.pair=p", f"--model.init_from={RUN}/checkpoints/last.ckpt")
    assert "was trained on 3 classes" in said
    assert "only there: ant; only here: zebra" in said
    assert not (home / "runs/e/p").exists()


def test_a_run_is_not_packed_with_the_names_of_other_classes(home, capsys):
    rename(home, "bee", "wasp")
    assert "only there: bee; only here: wasp" in refused(capsys, "pack", RUN)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("change", ["gone", "more", "moved"])
def test_a_run_does_not_resume_with_other_images(home, capsys, split, change):
    killed_in_the_last_second(home)
    picture = home / "photos" / split / "bee" / ("001.png" if split == "train" else "004.png")
    if change == "more":
        shutil.copy(picture, picture.with_name("new.png"))
    else:
        picture.rename(home / "photos" / split / "cat" / "new.png") if change == "moved" else picture.unlink()
    count = {"train": 12, "val": 6}[split]
    now = count + {"gone": -1, "more": 1, "moved": 0}[change]
    said = refused(capsys, *FIT, "--run.resume=true")
    assert f"the {split} images have changed since the run started: {count} then, {now} now" in said
    assert not (home / RUN / "summary.json").exists()


@pytest.mark.parametrize("change", [lambda home: rename(home, "bee", "wasp"), swap])
def test_a_run_does_not_resume_with_other_classes(home, capsys, change):
    killed_in_the_last_second(home)
    change(home)
    said = refused(capsys, *FIT, "--run.resume=true")
    assert "the checkpoint was trained on 3 classes" in said or "images have changed" in said


@pytest.mark.ffcv
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_does_not_resume_with_another_beton_of_the_same_names(home, capsys, split, monkeypatch):
    interpret(monkeypatch)
    line = [*FIT, "--run.pair=b", "--run.resume=auto", "--data.source=betons", "--data.backend=ffcv"]
    run = home / "runs/e/b/xnor/seed-0"
    assert main(["prepare", "photos", "betons"]) == 0
    assert main(line) == 0
    (run / "summary.json").unlink()  # as if it had been killed in the last second
    (home / "betons").rename(home / "former")
    picture = next((home / "photos" / split).rglob("*.png"))
    Image.new("RGB", (16, 16), (9, 9, 9)).save(picture)
    assert main(["prepare", "photos", "betons"]) == 0
    assert f"the {split} images have changed" in refused(capsys, *line)
    (home / "betons" / "train.beton.json").unlink()
    assert "has no sidecar" in refused(capsys, *line)
    shutil.rmtree(home / "betons")
    (home / "former").rename(home / "betons")
    assert main(line) == 0
    assert (run / "summary.json").is_file()


def test_a_run_with_unchanged_images_resumes(home):
    killed_in_the_last_second(home)
    assert main([*FIT, "--run.resume=true"]) == 0
    assert (home / RUN / "summary.json").exists()


@pytest.mark.parametrize(("count", "end"), [(5, "e"), (6, "e, ...")])
def test_five_classes_of_each_side_are_named(count, end):
    with pytest.raises(UserError) as refusal:
        refuse_other_classes([*"fedcba"[-count:], "same"], ["same", "x"], "it", "Do.")
    names = f"only there: a, b, c, d, {end}; only here: x"
    assert str(refusal.value) == f"it was trained on {count + 1} classes, but the images have 2 ({names}). Do."


def test_decomposed_class_names_are_equal_and_another_order_is_not():
    refuse_other_classes(["cafe\u0301", "b"], ("caf\u00e9", "b"), "it", "Do.")
    with pytest.raises(UserError, match=r"have 2 \(the same classes in another order\)\. Do\."):
        refuse_other_classes(["a", "b"], ("b", "a"), "it", "Do.")
