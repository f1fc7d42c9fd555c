"""`xnorlit fit` from the command line to the run's folder, and a resume after Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.faults import forked
from tests.training.conftest import TRAIN, VAL
from xnorlit import runs
from xnorlit.training.module import Classifier

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
BATCH, EPOCHS = 4, 2
STEPS = TRAIN // BATCH


def command(photos, root, arm="xnor", **more):
    options = {
        "data.source": photos,
        "data.backend": "folder",
        "data.batch_size": BATCH,
        "run.root": root,
        "trainer.max_epochs": EPOCHS,
        "trainer.precision": "32-true",
        "trainer.log_every_n_steps": 1,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    words = ["fit", "-c", EXPERIMENTS / "cifar10" / "base.yaml", "-c", EXPERIMENTS / "cifar10" / f"{arm}.yaml"]
    return [str(word) for word in words] + [f"--{key}={value}" for key, value in options.items()]


def program(*words, **environment):
    """Run the command in a new process, as a user does. A forked child, without new imports, acts the same."""
    return subprocess.run(
        [sys.executable, "-m", "xnorlit.commands.main", *words],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
    )


@pytest.fixture
def xnorlit(tmp_path):
    """Run a command line in a child; return its exit status and output."""

    def call(*words, prepare=None):
        training = forked.Training(list(words), tmp_path / "log", prepare)
        status = training.wait()
        said = training.said
        training.log.unlink()
        return status, said

    return call


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A finished XNOR run and what it printed; with one thread, as the children have."""
    root = tmp_path_factory.mktemp("runs")
    result = program(*command(photos, root), WANDB_MODE="offline", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    return root / "cifar10" / "pair-0" / "xnor" / "seed-0", result


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_all_its_files_and_they_read_back(trained):
    folder, _ = trained
    run = runs.read(folder)
    assert run.summary.epochs == EPOCHS
    assert run.summary.parameters == 1_472_650 - 7 * 513  # three classes instead of ten
    assert run.summary.binary_parameters == 1_458_688
    assert {split: images.samples for split, images in run.summary.images.items()} == {"train": TRAIN, "val": VAL}
    assert run.predictions.index.tolist() == list(range(VAL))
    assert run.predictions.classes == ("ant", "bee", "cat")
    assert run.predictions.correct(1).mean() == pytest.approx(run.summary.top1)
    assert run.curves["val/top1"].value[-1] == pytest.approx(run.summary.top1)
    assert run.curves["layer/conv3/flips"].step.tolist() == [STEPS - 1, EPOCHS * STEPS - 1]
    assert run.flat_config["model.binarizer.class_path"] == "xnorlit.binarize.xnor.XNOR"
    assert run.environment.packages["torch"]
    assert {"best.ckpt", "last.ckpt"} == {file.name for file in (folder / "checkpoints").iterdir()}


def test_the_last_checkpoint_is_of_the_last_epoch_and_the_best_of_the_best(trained):
    folder, _ = trained
    run = runs.read(folder)
    last, best = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    assert last["global_step"] == EPOCHS * STEPS
    assert best["global_step"] == run.summary.best_epoch * STEPS


def test_the_checkpoint_is_plain_data(trained):
    folder, _ = trained
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert {split: each["samples"] for split, each in checkpoint["xnorlit"].pop("images").items()} == {
        "train": TRAIN,
        "val": VAL,
    }
    assert checkpoint["xnorlit"] == {
        "network": "alexnet-small",
        "image_size": 32,
        "classes": ["ant", "bee", "cat"],
        "before_training": None,
        "teachers": [""],  # its one loss learns from none
    }


def test_the_output_has_the_result_and_the_next_command(trained):
    folder, result = trained
    summary = json.loads((folder / "summary.json").read_text())
    assert f"top-1 {100 * summary['top1']:.2f} %" in result.stdout
    assert "5.6 MiB latent fp32 -> 0.198 MiB packed (float fc8: " in result.stdout
    assert str(folder) in result.stdout
    assert "xnorlit train float" in result.stdout
    assert "W&B: offline" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr, "piped output has no control characters"
    assert f"{EPOCHS}/{EPOCHS}" in result.stdout


def test_an_offline_wandb_run_is_written_without_a_question(trained):
    folder, _ = trained
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["wandb"]["offline"] is True
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert offline.name.endswith(summary["wandb"]["id"])
    assert runs.read(folder).summary.wandb_id == summary["wandb"]["id"]
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *map(str, offline.glob("run-*.wandb"))]
    logged = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r'"host":"([^"]*)"', logged)) == {"not recorded"}


def test_a_second_run_into_the_same_place_is_refused(xnorlit, trained, photos):
    folder, _ = trained
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}
    status, said = xnorlit(*command(photos, folder.parents[3]))
    assert status == 2
    assert "holds a finished run" in said
    assert "Traceback" not in said
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_validate_gives_the_accuracy_that_training_reported(xnorlit, trained):
    folder, _ = trained
    status, said = xnorlit(
        "validate", "-c", str(folder / "config.yaml"), "--ckpt_path", str(folder / "checkpoints/last.ckpt")
    )
    assert status == 0, said
    told = re.search(r"val/top1\D+([\d.]+)", said)
    assert float(told[1]) == pytest.approx(json.loads((folder / "summary.json").read_text())["top1"])


def test_predict_writes_what_training_predicted(xnorlit, trained):
    folder, _ = trained
    checkpoint = folder / "checkpoints" / "last.ckpt"
    status, said = xnorlit("predict", "-c", str(folder / "config.yaml"), "--ckpt_path", str(checkpoint))
    assert status == 0, said
    written = folder / "checkpoints" / "last.predictions.safetensors"
    assert str(written) in said
    ours, theirs = runs.Predictions.load(written), runs.read(folder).predictions
    written.unlink()
    assert ours.top5.tolist() == theirs.top5.tolist()
    assert ours.listing_sha256 == theirs.listing_sha256


def test_the_checkpoint_of_another_network_is_refused_with_a_message(xnorlit, trained, tmp_path):
    folder, _ = trained
    other = tmp_path / "config.yaml"
    text = (folder / "config.yaml").read_text().replace("network: alexnet-small", "network: alexnet-xnor")
    other.write_text(text.replace("image_size: 32", "image_size: 64"))
    status, said = xnorlit("validate", "-c", str(other), "--ckpt_path", str(folder / "checkpoints" / "last.ckpt"))
    assert status == 2
    assert "the checkpoint contains alexnet-small and does not fit alexnet-xnor" in said
    assert "Traceback" not in said


def test_a_run_that_is_interrupted_resumes_with_the_very_next_sample(xnorlit, trained, photos, tmp_path):
    """Ctrl-C in an epoch, at its end and in the next, each followed by --run.resume, gives the uninterrupted run."""
    whole, _ = trained
    begin = command(photos, tmp_path, run__wandb="off")
    folder = tmp_path / "cifar10" / "pair-0" / "xnor" / "seed-0"
    for stop_at in (3, STEPS, STEPS + 5):
        status, said = xnorlit(*begin, f"--run.resume={str(stop_at > 3).lower()}", prepare=interrupted_at(stop_at))
        assert status == 75, said
        assert f"SIGINT: saved at step {stop_at:,}" in said
        assert "--run.resume auto" in said
        assert "Traceback" not in said
        assert not (folder / "summary.json").exists()

    status, said = xnorlit(*begin, "--run.resume=true")
    assert status == 0, said
    for key, value in weights(whole).items():
        assert torch.equal(weights(folder)[key], value), key
    one, other = runs.read(whole), runs.read(folder)
    assert one.predictions.top5.tolist() == other.predictions.top5.tolist()
    assert other.curves["train/loss_step"].step.tolist() == list(range(EPOCHS * STEPS)), "each step is logged once"
    for name, series in one.curves.series.items():
        assert series.value.tolist() == other.curves[name].value.tolist(), name


def interrupted_at(stop_at):
    """Send Ctrl-C in the step with that number."""

    def prepare():
        step = Classifier.training_step

        def interrupting(self, batch, batch_idx):
            if self.global_step == stop_at - 1:
                os.kill(os.getpid(), signal.SIGINT)
            return step(self, batch, batch_idx)

        Classifier.training_step = interrupting

    return prepare


def test_a_mistyped_binarizer_names_the_near_miss_and_leaves_nothing(xnorlit, photos, tmp_path):
    status, said = xnorlit(*command(photos, tmp_path / "runs"), "--model.binarizer", "XNORR")
    assert status == 2
    assert "no binarizer named XNORR. Did you mean XNOR? Known: " in said
    assert not (tmp_path / "runs").exists()


def test_an_error_before_the_first_step_leaves_nothing(xnorlit, photos, tmp_path):
    status, said = xnorlit(*command(photos, tmp_path / "runs", model__layers="{conv22: Float}"))
    assert status == 2
    assert "Did you mean conv2?" in said
    assert not (tmp_path / "runs").exists()


def test_a_nan_loss_stops_the_run_with_a_message(xnorlit, photos, tmp_path):
    status, said = xnorlit(*command(photos, tmp_path, model__optimizer__init_args__lr="1e30"))
    assert status == 2
    assert re.search(r"the training loss at step \d+ is not a finite number, first in net\.\w+", said)
    assert "Traceback" not in said


@pytest.mark.slow
def test_two_processes_see_each_validation_image_once(photos, tmp_path):
    result = program(
        *command(photos, tmp_path, trainer__devices=2, trainer__strategy="ddp", trainer__accelerator="cpu")
    )
    assert result.returncode == 0, result.stderr
    run = runs.read(tmp_path / "cifar10" / "pair-0" / "xnor" / "seed-0")
    assert run.predictions.index.tolist() == list(range(VAL))
    assert run.predictions.correct(1).mean() == pytest.approx(run.summary.top1)


@pytest.mark.slow
def test_torch_compile_trains_the_same_network(photos, tmp_path):
    result = program(*command(photos, tmp_path, model__compile="true", trainer__max_epochs=1))
    assert result.returncode == 0, result.stderr
