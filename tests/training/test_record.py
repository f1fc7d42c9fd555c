"""What a run prints is what it has recorded."""

import csv
import json
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.faults import forked
from xnorlit.errors import UserError
from xnorlit.training import record
from xnorlit.training.record import MIB, RunRecord, _cannot_pack, _other_arm, describe, weigh


def layer(name, weight_bits, mib):
    """A layer whose latent weights take the given MiB in fp32."""
    return SimpleNamespace(name=name, weight_bits=weight_bits, weights=int(mib * MIB) // 32)


LAYERS = (layer("conv1", 32, 1), layer("conv2", 1, 9), layer("conv3", 1, 9), layer("fc4", 2, 11), layer("fc5", 32, 2))


def size(layers=LAYERS, packed=5):
    return SimpleNamespace(layers=layers, parameters=8_388_608, float_bits=32 * MIB, packed_bits=packed * MIB)


def test_the_line_of_an_arm_counts_its_layers_by_their_bits_and_names_the_largest_real_one():
    weights = "32 MiB latent fp32 -> 5 MiB packed (float fc5: 2 MiB)"
    assert weigh(size()) == weights
    assert describe(size(), "xnor") == (f"xnor: 2 binary layers, 1 of 2 bits, 2 float; 8,388,608 parameters, {weights}")


def test_a_network_without_real_layers_names_none_and_a_real_one_has_one_size():
    assert weigh(size(LAYERS[1:4])) == "32 MiB latent fp32 -> 5 MiB packed"
    assert weigh(size((LAYERS[0], LAYERS[4]), packed=32)) == "32 MiB fp32"


# --- each hook alone --------------------------------------------------------------------------------------------------
class Module(nn.Module):
    """Any user's network, of which the record asks little."""

    before_training = None
    images: ClassVar = {"train": {"samples": 3, "sha256": "a", "content": "b"}}

    def __init__(self, why=""):
        super().__init__()
        self.net = nn.Module()
        layers = [("a", SimpleNamespace(binarizer=SimpleNamespace(cannot_pack="")))]
        layers += [(name, SimpleNamespace(binarizer=SimpleNamespace(cannot_pack=why))) for name in ("b", "c")]
        self.net.layers = lambda: layers

    def summary(self):
        found = [SimpleNamespace(**vars(each), input_bits=1) for each in LAYERS]
        return SimpleNamespace(**vars(size(found)), binary_weights=9, binary_packed_bits=8)


class Trainer(SimpleNamespace):
    """What a record asks of Lightning's trainer."""

    def __init__(self, **changed):
        data = SimpleNamespace(
            used_backend="folder", classes=("a", "b"), num_classes=2, source="photos", listing_hash=lambda split: split
        )
        metrics = {f"val/{key}": torch.tensor(changed.pop(key, 0.5)) for key in ("top1", "top5")}
        super().__init__(
            **{
                "is_global_zero": True, "fast_dev_run": False, "sanity_checking": False, "current_epoch": 0,
                "callback_metrics": metrics, "datamodule": data, **changed,
            }
        )  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(record, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


@pytest.fixture
def made(tmp_path):
    """The record of a run that has begun."""
    folder = tmp_path / "e" / "pair-0" / "xnor" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    return RunRecord(folder, "seed_everything: 0", None, resumed=False)


def validated(made, epoch, top1, top5=1.0, **changed):
    trainer = Trainer(current_epoch=epoch, top1=top1, top5=top5, **changed)
    made.on_validation_epoch_start(trainer, None)
    outputs = {"indices": torch.tensor([1, 0]), "labels": torch.tensor([0, 1]), "logits": torch.eye(2)}
    made.on_validation_batch_end(trainer, None, outputs, None, 0)
    made.on_validation_end(trainer, None)


@pytest.mark.parametrize(
    ("changed", "resumed", "written"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"is_global_zero": False}, False, False),
        ({"fast_dev_run": 2}, False, False),
    ],
)
def test_a_new_runs_first_process_writes_its_settings(changed, resumed, written, tmp_path, capsys):
    made = RunRecord(tmp_path, "seed_everything: 0", None, resumed)
    made.on_fit_start(Trainer(**changed), Module())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.yaml", "environment.json"] * written
    if written:
        assert (tmp_path / "config.yaml").read_text() == "seed_everything: 0"
        assert json.loads((tmp_path / "environment.json").read_text())["backend"] == "folder"
    assert f"[arm]     {tmp_path.parent.name}: 2 binary layers" in capsys.readouterr().out


def test_the_seconds_are_those_of_the_epochs_and_not_of_their_validations(made, clock):
    assert made._seconds() == 0
    made.on_train_start(None, None)
    clock.seconds += 3
    made.on_train_epoch_start(None, None)  # Lightning calls both
    clock.seconds += 5
    assert made.state_dict()["seconds"] == 5
    made.on_train_epoch_end(None, None)
    clock.seconds += 7
    assert made.seconds == made._seconds() == 5
    made.on_train_epoch_start(None, None)
    clock.seconds += 2
    made.on_train_epoch_end(None, None)
    assert made.seconds == 7
    for step in range(1002):
        made.on_train_batch_start(None, None)
        clock.seconds += 0.5 if step < 501 else 0.25
        made.on_train_batch_end(None, None)
    assert list(made.step_seconds) == [0.5] * 499 + [0.25] * 501, "of the last thousand steps"


def test_the_best_epoch_is_the_first_of_the_highest_accuracy(made):
    assert made.best["epoch"] == 0
    best = []
    for epoch, top1 in enumerate([0.0, 0.25, 0.25, 0.125, 0.5]):
        validated(made, epoch, top1)
        assert made.measured == {"top1": top1, "top5": 1.0, "epoch": epoch + 1}
        best.append(made.best)
    assert [each["epoch"] for each in best] == [1, 2, 2, 2, 5]
    assert best[-1]["top1"] == 0.5
    before = made.measured
    validated(made, 5, 1.0, sanity_checking=True)
    assert (made.measured, made.best["epoch"]) == (before, 5), "a look at two batches is no validation"


@pytest.mark.parametrize(
    ("changed", "written"), [({}, True), ({"is_global_zero": False}, False), ({"fast_dev_run": 1}, False)]
)
def test_the_answers_of_a_validation_are_written_by_the_first_process(changed, written, made):
    from safetensors import safe_open

    validated(made, 2, 0.5, **changed)
    file = made.folder / "predictions.safetensors"
    assert file.is_file() is written
    if written:
        with safe_open(file, "pt") as opened:
            assert opened.get_tensor("index").tolist() == [0, 1]
            assert opened.metadata() == {
                "classes": '["a", "b"]', "listing_sha256": "val", "split": "val", "source": "photos", "epoch": "3",
            }  # fmt: skip
    (made.folder / "config.yaml").unlink()
    if written:
        with pytest.raises(UserError, match="was moved or removed"):
            validated(made, 3, 0.5)


def finished(made, clock, module=None, **changed):
    made.on_train_epoch_start(None, None)
    clock.seconds += 61.7
    made.on_train_epoch_end(None, None)
    for seconds in (0.1, 0.3, 0.2):
        made.step_seconds.append(seconds)
    validated(made, 0, 0.75)
    validated(made, 1, 0.5, 0.875)
    made.on_fit_end(Trainer(current_epoch=2, **changed), module or Module())


@pytest.mark.parametrize("source", ["photos", "synthetic"])
def test_a_finished_run_has_a_summary_and_says_it(source, made, clock, capsys):
    made.wandb = {"id": "abc", "offline": False}
    data = Trainer().datamodule
    data.source = source
    finished(made, clock, Module("no bits"), datamodule=data)
    assert json.loads((made.folder / "summary.json").read_text()) == {
        "status": "finished", "epochs": 2, "top1": 0.5, "top5": 0.875, "best_top1": 0.75, "best_epoch": 1,
        "train_seconds": pytest.approx(61.7), "step_seconds": 0.2, "parameters": 8_388_608, "binary_parameters": 9,
        "bits": {"float": 32 * MIB, "packed": 5 * MIB, "binary": 8},
        "codes": {"conv1": [32, 1], "conv2": [1, 1], "conv3": [1, 1], "fc4": [2, 1], "fc5": [32, 1]},
        "cannot_pack": "b: no bits", "classes": 2, "synthetic": source == "synthetic", "init": None,
        "images": {"train": {"samples": 3, "sha256": "a", "content": "b"}}, "wandb": {"id": "abc", "offline": False},
    }  # fmt: skip
    made_of = ", synthetic images" if source == "synthetic" else ""
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"[done]    top-1 50.00 %, top-5 87.50 % (best 75.00 at epoch 1), 62 s of training{made_of}"
    assert lines[2:4] == [f"          run: {made.folder}", "          W&B: run abc"]
    other = "the same command with --model.binarizer Float --run.arm float   (the pair's other arm)"
    assert lines[4:] == [f"[next]    {other}, then xnorlit compare", f"          xnorlit pack {made.folder}"]


def test_the_arms_of_a_pair_with_this_seed_are_compared_next(made, clock, capsys):
    for arm, seed, count in (("float", 1, 0), ("float", 0, 1)):
        folder = made.folder.parents[1] / arm / f"seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "summary.json").touch()
        made.wandb = {"id": "abc", "offline": True}
        finished(made, clock)
        said = capsys.readouterr().out
        assert said.count("xnorlit compare --experiment e --pair pair-0") == count
        assert "W&B: offline; upload with xnorlit sync" in said


@pytest.mark.parametrize(
    ("changed", "said"), [({"is_global_zero": False}, ""), ({"fast_dev_run": 1}, "nothing was saved")]
)
def test_a_trial_and_another_process_write_no_summary(changed, said, made, clock, capsys):
    finished(made, clock, **changed)
    assert not (made.folder / "summary.json").exists()
    assert said in capsys.readouterr().out


def test_a_run_that_was_not_measured_at_its_end_is_not_finished(made, clock):
    with pytest.raises(UserError, match="stopped before measuring it"):
        made.on_fit_end(Trainer(current_epoch=2), Module())
    validated(made, 0, 0.5)
    with pytest.raises(UserError, match="xnorlit validate, or train it again"):
        made.on_fit_end(Trainer(current_epoch=2), Module())


@pytest.mark.parametrize("wandb", [None, {"id": "abc", "offline": True}])
def test_a_record_goes_on_from_its_checkpoint(wandb, made):
    made.wandb, made.seconds, made.ended = wandb, 12.5, True
    made.step_seconds.extend([0.1, 0.2])
    validated(made, 3, 0.5)
    state = made.state_dict()
    assert state["wandb_id"] == (wandb and "abc")
    other = RunRecord(made.folder, "", None, resumed=True)
    other.load_state_dict(state)
    for name in ("seconds", "best", "measured", "ended"):
        assert getattr(other, name) == getattr(made, name), name
    assert list(other.step_seconds) == [0.1, 0.2]
    del state["measured"], state["ended"]  # as in an earlier version
    other.load_state_dict(state)
    assert (other.measured, other.ended) == ({}, False)


@pytest.mark.parametrize(
    ("binary", "own", "said"),
    [
        (9, False, "xnorlit train float   (the pair's other arm, with the same options)"),
        (0, False, "xnorlit train xnor   (the pair's other arm, with the same options)"),
        (9, True, "the same command with --model.binarizer Float --run.arm float   (the pair's other arm)"),
        (0, True, "the same command with --model.binarizer XNOR --run.arm xnor   (the pair's other arm)"),
    ],
)
def test_the_other_arm_of_a_real_one_is_binary(binary, own, said):
    assert _other_arm(SimpleNamespace(binary_weights=binary), own=own) == said


def test_the_first_layer_without_a_packed_form_says_why():
    assert _cannot_pack(Module("no bits").net) == "b: no bits"
    assert _cannot_pack(Module().net) == ""


def test_one_binary_layer_is_one():
    assert describe(size(LAYERS[:2]), "a").startswith("a: 1 binary layer, 1 float; ")
    assert describe(size(LAYERS[:1]), "a").startswith("a: 0 binary layers, 1 float; ")


@pytest.fixture(scope="module")
def said(photos, tmp_path_factory):
    """A run of each arm of a pair, and the output of the first."""
    root = tmp_path_factory.mktemp("said")
    arm = forked.words(photos, root, run__arm="bc", data__batch_size=5)
    first = forked.train(arm, root / "first.log").said
    second = forked.words(photos, root, run__arm="float", model__binarizer="Float", trainer__max_epochs=1)
    return root / "unnamed" / "pair-0" / "bc" / "seed-0", first, forked.train(second, root / "second.log").said


def test_each_epochs_line_has_its_loss_and_its_accuracies(said):
    run, text, _ = said
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [line for line in text.splitlines() if line.startswith("[epoch]")]
    values = {
        key: [float(row[key]) for row in rows if row.get(key)] for key in ("train/loss_epoch", "val/top1", "val/top5")
    }
    assert len(lines) == 3
    for number, (line, loss, top1, top5) in enumerate(zip(lines, *values.values(), strict=True), start=1):
        assert f"{number}/3  loss {loss:.3f}  val top-1 {100 * top1:.2f} %  top-5 {100 * top5:.2f} %  " in line


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples(said):
    """The last step of an epoch has 2 of the 32 images, and counts for 2."""
    sizes = [5] * 6 + [2]
    with (said[0] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [float(row["train/loss_step"]) for row in rows if row.get("train/loss_step")]
    epochs = [float(row["train/loss_epoch"]) for row in rows if row.get("train/loss_epoch")]
    assert len(steps) == 3 * 7
    for number, found in enumerate(epochs):
        of_epoch = steps[7 * number : 7 * number + 7]
        assert found == pytest.approx(sum(x * size for x, size in zip(of_epoch, sizes, strict=True)) / 32, rel=1e-5)


def test_the_last_lines_say_what_the_summary_says_and_what_comes_next(said):
    run, text, second = said
    found = json.loads((run / "summary.json").read_text())
    assert (
        f"[done]    top-1 {100 * found['top1']:.2f} %, top-5 {100 * found['top5']:.2f} % (best "
        f"{100 * found['best_top1']:.2f} at epoch {found['best_epoch']}), {found['train_seconds']:.0f} s of training\n"
    ) in text
    assert f"run: {run}" in text
    assert "xnorlit train float   (the pair's other arm, with the same options), then xnorlit compare" in text
    assert f"xnorlit pack {run}" in text
    assert "W&B" not in text
    assert "xnorlit compare --experiment unnamed --pair pair-0" in second
    assert "xnorlit pack" not in second, "a real network has nothing to pack"
