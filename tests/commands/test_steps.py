"""`xnorlit steps` rebuilds finished runs and times their training step."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from xnorlit.commands import main as cli
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.training.losses import distillation
from xnorlit.training.recorded import images
from xnorlit.training.step import training_step

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "cifar10"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A pair of float and best, which learns from float; each has taken two steps in bf16."""
    root = tmp_path_factory.mktemp("steps")
    for split in ("train", "val"):
        for number, name in enumerate(("ant", "bee")):
            for copy in range(4):
                file = root / "photos" / split / name / f"{copy}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (100 * number + copy, 50, 50)).save(file)
    before = sys.argv
    for arm in ("float", "best"):
        words = ["fit", "-c", str(EXPERIMENTS / "base.yaml"), "-c", str(EXPERIMENTS / f"{arm}.yaml")]
        settings = {
            "data.source": root / "photos", "data.backend": "folder", "data.batch_size": 4, "trainer.max_epochs": 1,
            "run.root": root, "run.wandb": "off",
        }  # fmt: skip
        assert cli.main(words + [f"--{key}={value}" for key, value in settings.items()]) == 0
    sys.argv = before
    return root / "cifar10" / "pair-0"


def test_each_arm_is_timed_and_the_file_says_where(pair, tmp_path, capsys):
    runs = [str(pair / arm / "seed-0") for arm in ("float", "best")]
    out = tmp_path / "steps.json"
    assert cli.main(["steps", *runs, "--rounds", "2", "--steps", "1", "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["arms"].keys() == {"float", "best"}
    assert written["arms"]["float"]["ratio"]["median"] == 1
    assert written["arms"]["best"]["ratio"]["rounds"] == 2
    assert written["steps_per_round"] == 1
    assert all(0 < arm["image_seconds"]["median"] < 1 for arm in written["arms"].values())
    assert written["machine"]["threads"] == torch.get_num_threads()
    printed = capsys.readouterr().out
    assert f"{written['arms']['best']['ratio']['median']:.3f}" in printed
    assert "x float" in printed
    assert f"{1000 * written['arms']['best']['image_seconds']['median']:.3g}" in printed


def test_a_step_is_the_runs_own(pair, monkeypatch):
    """The step evaluates the teacher in the run's precision, and moves weights by the rate, like Adam's first step."""
    run = read(pair / "best" / "seed-0")
    data = images(run.config, run.path / "config.yaml")
    data.setup()
    asked, taught = [], distillation.Distillation.taught

    def note(self, shown):
        asked.append((tuple(shown.shape), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return taught(self, shown)

    monkeypatch.setattr(distillation.Distillation, "taught", note)
    seen = {}
    real = torch.optim.Adam.step

    def watched(self, *arguments, **named):
        latent = self.param_groups[1]["params"]
        before = [weight.detach().clone() for weight in latent]
        result = real(self, *arguments, **named)
        seen["moved"] = max((a - b).abs().max().item() for a, b in zip(latent, before, strict=True))
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    step = training_step(run, data, torch.device("cpu"))
    step()
    assert asked == [((4, 3, 32, 32), True, torch.bfloat16)]
    assert seen["moved"] == pytest.approx(3e-3, rel=1e-3)


def test_fresh_weights_of_any_binarizers_are_timed(tmp_path, capsys):
    out, ste = tmp_path / "steps.json", "{class_path: XNOR, init_args: {gradient: ste, center: false}}"
    words = ["--network", "alexnet-small", "--batch", "2", "--rounds", "1", "--steps", "1", "--precision", "bf16-mixed"]
    assert cli.main(["steps", *words, "--binarizers", "IRNet", "LatentFree", ste, "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    assert list(written["arms"]) == ["Float", "IRNet", "LatentFree", ste]
    assert written["arms"]["Float"]["ratio"]["median"] == 1
    printed = capsys.readouterr().out
    assert "x Float" in printed
    assert "image" not in printed, "fresh weights are no run to pack"


@pytest.mark.parametrize("words", [[], ["RUN", "--network", "alexnet-small"]])
def test_either_runs_or_a_network_are_given(words, capsys):
    assert cli.main(["steps", *words]) == 2
    assert "expected either finished runs of several arms, or --network NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds: expected a whole number, 1 or more, not '0'"),
        (["RUN"], "the runs belong to the arms float, float. Expected one run of each arm."),
    ],
)
def test_unmeasurable_values_are_reported(words, message, pair, capsys):
    run = str(pair / "float" / "seed-0")
    assert cli.main(["steps", run, *(run if word == "RUN" else word for word in words)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--batch=64", "--classes=10", "--precision=32-true", "--binarizers=XNOR"])
def test_settings_of_fresh_weights_are_refused_for_runs(option, pair, capsys):
    runs = [str(pair / arm / "seed-0") for arm in ("float", "xnor")]
    assert cli.main(["steps", *runs, option]) == 2
    assert f"{option.partition('=')[0]} goes with --network, whose weights are fresh" in capsys.readouterr().err


def test_a_precision_that_is_not_known_here_is_named(pair):
    run = read(pair / "float" / "seed-0")
    run.config["trainer"]["precision"] = "64-true"
    with pytest.raises(UserError, match=r"was trained in precision 64-true\. Known: 32-true"):
        training_step(run, None, torch.device("cpu"))
