"""The script of smoke runs scales a recipe whole, tells a run that learns from one that does not, and hides none."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.runs.recipes import Recipe

SCRIPT = Path(__file__).parents[1] / "scripts" / "smoke.py"


@pytest.fixture(scope="module")
def smoke():
    spec = importlib.util.spec_from_file_location("smoke", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scheduled(smoke, recipe, arm):
    given = argparse.Namespace(data=Path("photos"), root=Path("runs"))
    found = smoke.settings(Recipe.find(recipe), arm, given, 600)
    assert found["trainer.max_epochs"] * found["trainer.limit_train_batches"] == 600
    prefix = "model.schedule.init_args."
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("recipe", "arm", "expected"),
    [
        ("imagenet", "xnor", {"factors": '{"3": 0.5, "5": 0.1, "8": 0.05, "9": 0.01}'}),  # of 55 epochs: 18, 29, 43, 52
        ("imagenet-dorefa", "dorefa", {"factors": '{"7": 0.2, "8": 0.04}'}),  # of 90: 60, 75
        ("imagenet-binary", "bnn", {"every": 1}),  # of 150: every 10
        ("imagenet-quicknet", "quicknet", {"warmup": 5 / 60}),  # of 600: 5
        ("imagenet-best", "best", {"warmup": 10 / 128}),  # of 128: 1
        ("imagenet-bireal", "bireal", {}),  # linear from the first step to the last
    ],
)
def test_the_schedule_is_scaled_to_ten_epochs(smoke, recipe, arm, expected):
    assert scheduled(smoke, recipe, arm) == expected


def test_an_arm_with_a_teacher_is_omitted_by_name(smoke):
    needs = {
        f"{name}/{arm}": smoke.taught_by(recipe, arm)
        for name in ("imagenet", "imagenet-best", "imagenet-duo", "imagenet-reactnet")
        for recipe in [Recipe.find(name)]
        for arm in smoke.binary_arms(recipe)
    }
    assert needs == {
        "imagenet/xnor": "",
        "imagenet-best/best": "",
        "imagenet-duo/duo": "",
        "imagenet-duo/duo-decoupled": "",
        "imagenet-reactnet/step1": "float",
        "imagenet-reactnet/reactnet": "float",
    }


def test_an_arm_that_starts_from_another_comes_behind_it_and_starts_from_its_smoke_run(smoke):
    recipe = Recipe.find("imagenet-duo")
    assert smoke.binary_arms(recipe) == ["duo", "duo-decoupled"]
    given = argparse.Namespace(data=Path("photos"), root=Path("runs"))
    found = smoke.settings(recipe, "duo-decoupled", given, 600)
    assert found["model.init_from"] == Path("runs/imagenet-duo/smoke/duo/seed-0/checkpoints/last.ckpt")
    assert "model.init_from" not in smoke.settings(recipe, "duo", given, 600)
    assert smoke.train(recipe, "duo-decoupled", given) == "it starts from duo, which is not finished"


@pytest.mark.parametrize("other", [["--minutes", "1"], ["--steps", "20"], ["--root", "runs", "--minutes", "8.5"]])
def test_a_folder_of_other_images_minutes_or_steps_is_refused(smoke, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = argparse.Namespace(data=Path("photos"), minutes=8.0, steps=600)
    plan = Path("runs/imagenet-larq/xnor.plan.json")
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"steps": 50, **smoke._inputs(given)}))
    words = ["smoke.py", "photos", "--recipes", "imagenet-larq", "--root", "runs", "--no-training"]
    monkeypatch.setattr(sys, "argv", words)
    assert smoke.main() == 1, "the same inputs: a table with an unfinished run"
    monkeypatch.setattr(sys, "argv", [*words, *other])
    with pytest.raises(UserError, match="other images, minutes or steps"):
        smoke.main()
    monkeypatch.setattr(sys, "argv", [words[0], "more", *words[2:]])
    with pytest.raises(UserError, match="other images, minutes or steps"):
        smoke.main()


def run_with(tmp_path, losses, dead, right):
    path = write_run(tmp_path, "xnor", right=right)
    rows = [f"{epoch},{epoch},{loss},{share}\n" for epoch, (loss, share) in enumerate(zip(losses, dead, strict=True))]
    (path / "metrics.csv").write_text("step,epoch,train/loss_epoch,layer/conv2/dead\n" + "".join(rows))
    return read(path)


@pytest.mark.parametrize(
    ("losses", "dead", "right", "verdict"),
    [
        ((2.3, 1.2), (0.1, 0.2), 700, "yes"),
        ((2.3, 2.3), (0.1, 0.2), 700, "the loss does not fall"),
        ((2.3, 2.2), (0.1, 0.2), 700, "the loss does not fall"),  # by less than 5 %
        ((2.3, 2.18), (0.1, 0.2), 700, "yes"),
        ((2.3, "nan"), (0.1, 0.2), 700, "NaN"),
        ((2.3, 1.2), (0.1, 0.2), 110, "not above chance"),
        ((2.3, 1.2), (0.1, 1.0), 700, "a dead layer"),
    ],
)
def test_the_verdict_names_what_is_wrong(smoke, tmp_path, losses, dead, right, verdict):
    assert smoke.alive(run_with(tmp_path, losses, dead, right))[-1] == verdict


def test_a_run_that_fails_has_a_row_and_the_status_says_so(tmp_path):
    words = [sys.executable, SCRIPT, tmp_path / "missing", "--recipes", "imagenet-larq", "--root", tmp_path / "runs"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"{tmp_path / 'missing'}" in done.stderr
    assert "| imagenet-larq | xnor | - | - | - | - | the trial failed, exit status 2 |" in done.stdout
