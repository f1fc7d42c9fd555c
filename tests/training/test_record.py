"""What a run prints is what it has recorded."""

import csv
import json
from types import SimpleNamespace

import pytest

from tests.faults import forked
from xnorlit.training.record import MIB, describe, weigh


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
