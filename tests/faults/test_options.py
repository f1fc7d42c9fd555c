"""Trainer options in a training: the right numbers, and the same ones after a kill."""

import csv
import signal

import pytest

from tests.faults import forked
from tests.faults.test_kills import OFTEN, killed_at
from xnorlit import runs

EARLY = (
    "{class_path: pytorch_lightning.callbacks.EarlyStopping, init_args: {monitor: val/top1, mode: max, patience: 1}}"
)
AVERAGE = "{class_path: EMAWeightAveraging, init_args: {decay: 0.5}}"
OPTIONS = {
    "limit_train_batches": {"trainer__limit_train_batches": 3},
    "a share of the batches": {"trainer__limit_train_batches": 0.5},
    "check_val_every_n_epoch": {"trainer__check_val_every_n_epoch": 2},
    "accumulate_grad_batches": {"trainer__accumulate_grad_batches": 3},
    "accumulate and limit": {"trainer__accumulate_grad_batches": 3, "trainer__limit_train_batches": 7},
    "limit_val_batches": {"trainer__limit_val_batches": 1},
    "num_sanity_val_steps": {"trainer__num_sanity_val_steps": 2},
    "gradient_clip_val": {"trainer__gradient_clip_val": 0.01},
    "early stopping": {"trainer__callbacks": f"[{EARLY}]", "trainer__max_epochs": 6},
    "an average of weights": {"trainer__callbacks": f"[{AVERAGE}]"},
    "recalibration": {"trainer__callbacks": "[{class_path: Recalibration, init_args: {images: 16}}]"},
    "layer curves at each step": {"trainer__callbacks": "[{class_path: LayerCurves, init_args: {every: 1}}]"},
    "two stages": {"trainer__callbacks": "[{class_path: TwoStages, init_args: {real: inputs}}]"},
    "two losses": {"model__losses": "[{class_path: CrossEntropy}, {class_path: CrossEntropy}]"},
    "bf16": {"trainer__precision": "bf16-mixed"},
}


FEW = ("limit_train_batches", "check_val_every_n_epoch", "accumulate and limit", "an average of weights")


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS]
)
def test_a_run_killed_with_this_option_ends_like_an_uninterrupted_one(name, photos, tmp_path):
    options = OPTIONS[name]
    forked.train(forked.words(photos, tmp_path / "whole", **options), tmp_path / "log")
    line = forked.words(photos, tmp_path / "killed", run__checkpoint_minutes=OFTEN, **options)
    for event, number in (("a file has just got its name", 6), ("an epoch is saved", 2), ("training is over", 1)):
        training = forked.Training(line, tmp_path / "log", killed_at(event, number))
        assert training.wait() == -signal.SIGKILL, training.said
    forked.train(line, tmp_path / "log")
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "killed"))) == []


def rows(run, column):
    with (run / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[column])) for row in csv.DictReader(file) if row.get(column)]


def trained(photos, root, **options):
    forked.train(forked.words(photos, root, **options), root / "log")
    return runs.read(forked.folder(root))


def test_a_limited_epoch_has_the_given_length_and_the_next_has_its_own_order(photos, tmp_path):
    run = trained(photos, tmp_path, trainer__limit_train_batches=3)
    assert [step for step, _ in rows(run.path, "train/loss_step")] == list(range(9))


def test_the_last_epoch_is_validated_and_kept_whatever_the_interval(photos, tmp_path):
    run = trained(photos, tmp_path, trainer__check_val_every_n_epoch=2)
    assert [step for step, _ in rows(run.path, "val/top1")] == [15, 23], "after epochs 2 and 3"
    assert run.summary.epochs == 3
    assert run.summary.top1 == rows(run.path, "val/top1")[-1][1]
    kept = forked.torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 24


@pytest.mark.parametrize(("accumulate", "limit"), [(1, None), (3, None), (3, 7), (8, None)])
def test_the_schedule_ends_with_the_run_however_gradients_are_accumulated(accumulate, limit, photos, tmp_path):
    from xnorlit.training.schedule import WarmupCosine

    monitor = "[{class_path: pytorch_lightning.callbacks.LearningRateMonitor}]"
    run = trained(
        photos,
        tmp_path,
        trainer__accumulate_grad_batches=accumulate,
        trainer__limit_train_batches=limit,
        trainer__callbacks=monitor,
    )
    steps = -(-(limit or 8) // accumulate)
    rates = list(dict(rows(run.path, "lr-Adam/pg1")).values())
    expected = [0.01 * WarmupCosine(1)(step / steps, 3) for step in range(3 * steps)]
    assert rates == pytest.approx(expected)


def test_a_measurement_on_some_images_is_labelled(photos, tmp_path):
    # A share, not 1: if some import created Union[float, int] first, typing gives Lightning's option that order,
    # and 1 is read as 1.0, all of them.
    run = trained(photos, tmp_path, trainer__limit_val_batches=0.5)
    assert run.predictions.index.tolist() == [0, 1, 2, 3]
    assert run.predictions.correct(1).mean() == pytest.approx(run.summary.top1)


def test_a_run_measured_on_some_images_is_packed_and_measured_on_all(photos, tmp_path):
    run = trained(photos, tmp_path, trainer__limit_val_batches=0.5, model__binarizer="XNOR")
    packing = forked.Training(["pack", str(run.path)], tmp_path / "pack.log")
    assert packing.wait() == 0, packing.said
    assert "of 7 validation images" in packing.said
    assert "in order, differ for 0 of 7 images" in packing.said


def test_one_sample_a_step_is_refused_before_anything_is_trained(photos, tmp_path):
    training = forked.Training(forked.words(photos, tmp_path / "runs", data__batch_size=1), tmp_path / "log")
    assert training.wait() == 2
    assert "data.batch_size is 1, but a batch norm cannot compute a variance" in training.said
    assert not (tmp_path / "runs").exists()


def test_less_than_a_batch_is_refused_before_anything_is_trained(photos, tmp_path):
    training = forked.Training(
        forked.words(photos, tmp_path / "runs", trainer__limit_train_batches=0.01), tmp_path / "log"
    )
    assert training.wait() == 2
    assert "limit_train_batches" in training.said
    assert "Traceback" not in training.said
    assert not list(tmp_path.rglob("*.ckpt"))
