"""Distillation with hints: hand-computed values, the features that are compared, and what is refused."""

import json

import pytest
import torch

from tests.training.losses.conftest import DATA, TRAINER
from tests.training.test_aids import fit
from xnorlit.data import ImageData
from xnorlit.errors import UserError
from xnorlit.models import create
from xnorlit.training.losses.distillation import Distillation
from xnorlit.training.losses.hints import HintedDistillation, hints


@pytest.fixture
def data(photos):
    made = ImageData(str(photos), backend="folder", batch_size=8)
    made.setup()
    return made


@pytest.fixture
def run(pair):
    return pair / "runs" / "cifar10" / "pair-0" / "xnor" / "seed-0"


def student(data, binarizer="XNOR", name="alexnet-small"):
    torch.manual_seed(0)
    return create(name, binarizer=binarizer, classes=data.num_classes, image_size=32).train()


def test_each_layer_counts_alike_whatever_its_size():
    wide, narrow = torch.full((2, 3), 3.0), torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = hints([wide, narrow], [torch.ones(2, 3), torch.zeros(2, 1)])
    assert loss.item() == (4 + 1) / 2
    loss.backward()
    assert narrow.grad.tolist() == [[0.5], [-0.5]], "2 (s - t) / 2 values / 2 layers"


@pytest.mark.parametrize("binarizer", ["XNOR", "Float"])
def test_the_hints_are_the_differences_of_the_inputs_of_all_layers_but_the_first(binarizer, data, run):
    net, batch = student(data, binarizer), next(iter(data.train_dataloader()))
    plain, hinted = Distillation("float"), HintedDistillation("float", hint=0.5)
    for term in (plain, hinted):
        term.prepare(net, data, run)
    seen, of_teacher = {}, {}
    inner = ["conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    for found, network in ((seen, net), (of_teacher, hinted._network)):
        for name, layer in network.layers():
            layer.register_forward_pre_hook(lambda _, x, name=name, found=found: found.update({name: x[0]}))
    logits = net(batch.images).float()
    total = hinted(net, batch, logits)
    expected = sum((seen[name] - of_teacher[name]).square().mean() for name in inner) / 7
    assert not any(of_teacher[name].requires_grad for name in inner)
    assert total.item() == pytest.approx((plain(net, batch, logits) + 0.5 * expected).item(), rel=1e-5)
    total.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_teacher_itself_gets_no_hint_and_nothing_outlives_a_step(data, run):
    net, batch = student(data), next(iter(data.train_dataloader()))
    term = HintedDistillation("float")
    term.prepare(net, data, run)
    term(net, batch, net(batch.images).float())
    assert not term._student
    assert not term._teacher
    with torch.no_grad():
        net.eval()(batch.images)
    assert not term._student, "validation keeps no features"


def test_a_run_learns_from_the_hints_of_its_twin(pair, photos, capsys):
    loss = {"class_path": "HintedDistillation", "init_args": {"teacher": "float"}}
    words = ("--data.source", str(photos), "--model.losses", json.dumps([loss]), "--run.arm=hinted")
    assert fit(pair, *TRAINER, *DATA, *words) == 0
    assert "[teacher]" in capsys.readouterr().out


def test_a_teacher_with_other_layers_is_refused(data, run):
    with pytest.raises(UserError, match=r"the teacher, alexnet-small, has .* Expected a teacher with the same"):
        HintedDistillation("float").prepare(student(data, name="vgg-small"), data, run)


@pytest.mark.parametrize("settings", [{"hint": -1.0}, {"hint": float("nan")}, {"weight": 2.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        HintedDistillation("float", **settings)
