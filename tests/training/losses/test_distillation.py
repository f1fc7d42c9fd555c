"""Distillation: hand-computed values, and teachers that are refused before the first step."""

import json
import math

import pytest
import torch
import yaml
from PIL import Image

from tests.training.losses.conftest import DATA, TRAINER
from tests.training.test_aids import fit
from xnorlit.data import Batch, ImageData
from xnorlit.errors import UserError
from xnorlit.training.losses.distillation import Distillation, TeacherCrossEntropy, distillation
from xnorlit.training.teacher import trained_network


def taught(teacher, loss="Distillation"):
    return "--model.losses", json.dumps([{"class_path": loss, "init_args": {"teacher": str(teacher)}}])


def test_two_classes_by_hand():
    """At T = 2 the student's softened odds are 3:1, the teacher's 1:1."""
    student = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.zeros(1, 2, dtype=torch.float64)
    loss = distillation(student, teacher, temperature=2)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert loss.item() == pytest.approx(4 * divergence)
    loss.backward()
    assert student.grad[0].tolist() == pytest.approx([2 * (0.75 - 0.5), 2 * (0.25 - 0.5)])


def test_the_label_and_the_teacher_share_the_weight(monkeypatch):
    student, teacher = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    labels = torch.tensor([0, 1, 2, 3, 0])
    term = Distillation("float", temperature=3.0, weight=0.25)
    monkeypatch.setattr(term, "taught", lambda images: teacher)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    expected = 0.75 * -student.log_softmax(1)[range(5), labels].mean() + 0.25 * 9 * (p * (p / q).log()).sum(1).mean()
    found = term(None, Batch(torch.empty(0), labels, torch.empty(0)), student)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_alone_is_a_cross_entropy_with_its_probabilities(monkeypatch):
    student, teacher = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    term = TeacherCrossEntropy("float")
    monkeypatch.setattr(term, "taught", lambda images: teacher)
    expected = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    assert term(None, Batch(torch.empty(0), None, torch.empty(0)), student).item() == pytest.approx(expected.item())


def test_the_arm_of_the_pair_teaches_the_same_batch_in_evaluation_mode(pair, photos):
    data = ImageData(str(photos), backend="folder", batch_size=8)
    data.setup()
    term = Distillation("float")
    run = pair / "runs" / "cifar10" / "pair-0" / "xnor" / "seed-0"
    term.prepare(None, data, run)
    network = trained_network(run.parents[1] / "float" / "seed-0" / "checkpoints" / "last.ckpt", data)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    batch = next(iter(data.train_dataloader()))
    found = term.taught(batch.images)
    assert not found.requires_grad
    assert torch.equal(found, network.eval()(batch.images))
    assert torch.allclose(found[:3], term.taught(batch.images[:3]), atol=1e-6), "no statistics of the batch"
    with torch.autocast("cpu", torch.bfloat16):
        rough = term.taught(batch.images)
    assert rough.dtype == torch.float32
    assert 0 < (rough - found).abs().max() < 0.05 * found.abs().max(), "in the student's precision"


@pytest.mark.parametrize("loss", ["Distillation", "TeacherCrossEntropy"])
def test_a_run_learns_from_its_twin_and_records_it(loss, pair, photos, capsys):
    arm = f"--run.arm={loss}"
    assert fit(pair, *TRAINER, *DATA, "--data.source", str(photos), *taught("float", loss), arm) == 0
    assert "[teacher]" in capsys.readouterr().out
    folder = pair / "runs" / "cifar10" / "pair-0" / loss / "seed-0"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["losses"][0]["init_args"]["teacher"] == "float"
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("net.") for key in saved), "the teacher is not saved with the student"


def tree(root, classes, size):
    for split in ("train", "val"):
        for number, name in enumerate(classes):
            for copy in range(4):
                file = root / split / name / f"{copy}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (size, size), (50 * number + copy,) * 3).save(file)
    return root


def test_a_teacher_of_other_classes_is_refused_before_training(pair, tmp_path, capsys):
    other = tree(tmp_path / "photos", ("ant", "bee", "dog"), 32)
    teacher = pair / "runs" / "cifar10" / "pair-0" / "float" / "seed-0" / "checkpoints" / "last.ckpt"
    assert fit(tmp_path, *TRAINER, *DATA, "--data.source", str(other), *taught(teacher)) == 2
    told = capsys.readouterr().err
    assert "was trained on 3 classes, but the images have 3 (only there: cat; only here: dog)" in told
    assert not (tmp_path / "runs").exists()


def test_a_teacher_of_another_image_size_is_refused_before_training(pair, photos, tmp_path, capsys):
    teacher = pair / "runs" / "cifar10" / "pair-0" / "float" / "seed-0" / "checkpoints" / "last.ckpt"
    words = ("--data.source", str(photos), "--data.image_size", "48")
    assert fit(tmp_path, *TRAINER, *DATA, *words, *taught(teacher)) == 2
    assert "was trained on images of 32 pixels, but this run uses 48" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_nonexistent_file_is_named(photos, tmp_path, capsys):
    assert fit(tmp_path, *TRAINER, *DATA, "--data.source", str(photos), *taught("no/such.ckpt")) == 2
    assert "there is no checkpoint no/such.ckpt" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"weight": 1.5}, {"weight": -0.1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        Distillation("float", **settings)
