"""A step that is measured is the step of a training: its gradient, its optimizer, its precision."""

import copy
from types import SimpleNamespace

import pytest
import torch

from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.data import Batch
from xnorlit.errors import UserError
from xnorlit.training import step
from xnorlit.training.losses.bipolar import Bipolar
from xnorlit.training.losses.cross_entropy import CrossEntropy
from xnorlit.training.module import Classifier

CPU = torch.device("cpu")
DATA = SimpleNamespace(
    num_classes=3, classes=("a", "b", "c"), image_size=32, batch_size=4, mean=(120.0,) * 3, std=(60.0,) * 3
)


def classifier(binarizer, **more):
    torch.manual_seed(0)
    sgd = lambda groups: torch.optim.SGD(groups, lr=0.1)  # noqa: E731
    return Classifier("alexnet-small", binarizer, optimizer=sgd, channels_last=False, **more)


def test_it_goes_down_the_gradient_of_the_sum_of_the_losses(monkeypatch):
    batch = Batch(torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    monkeypatch.setattr(step, "_random_batch", lambda *_: batch)
    module = classifier(XNOR(center=False), losses=[CrossEntropy(), Bipolar(1e-3)])
    take = step.module_step(module, DATA, CPU, "32-true")
    expected = copy.deepcopy(module.net)
    loss = sum(term(expected, batch, expected(batch.images)) for term in module.losses)
    gradients = torch.autograd.grad(loss, [*expected.parameters()])
    take()
    with torch.no_grad():
        for (name, weight), before, gradient in zip(
            module.net.named_parameters(), expected.parameters(), gradients, strict=True
        ):
            after = before - 0.1 * gradient
            if name.split(".")[0] not in ("conv1", "fc8") and name.endswith(("conv.weight", "linear.weight")):
                after = after.clamp(-1, 1)  # what latent weights get after each step
            torch.testing.assert_close(weight, after, msg=name)
    first = module.net.fc8.linear.weight.detach().clone()
    take()
    assert not torch.equal(first, module.net.fc8.linear.weight), "it may be taken again"


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_it_computes_in_the_precision_of_its_run(precision, dtype, monkeypatch, tmp_path):
    module, seen = classifier(Float()), []
    monkeypatch.setattr(step, "classifier", lambda *_: module)
    run = SimpleNamespace(path=tmp_path, place=SimpleNamespace(seed=0), config={"trainer": {"precision": precision}})
    take = step.training_step(run, DATA, CPU)
    module.net.conv2.conv.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    take()
    assert seen == [dtype]


def test_a_run_that_says_no_precision_was_trained_in_fp32_and_an_unknown_one_is_refused(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(step, "classifier", lambda *_: None)
    monkeypatch.setattr(step, "module_step", lambda *given: told.append(given[3]))
    for config in ({}, {"trainer": None}, {"trainer": {"precision": None}}, {"trainer": {"precision": 32}}):
        step.training_step(SimpleNamespace(path=tmp_path, place=SimpleNamespace(seed=0), config=config), DATA, CPU)
    assert told == ["32-true"] * 3 + ["32"]
    with pytest.raises(UserError, match=r"was trained in precision 64-true\. Known: 32-true, 32, bf16-mixed"):
        step.training_step(SimpleNamespace(path=tmp_path, config={"trainer": {"precision": "64-true"}}), DATA, CPU)


def test_the_images_and_labels_are_of_the_size_and_the_classes_of_the_data():
    torch.manual_seed(0)
    batch = step._random_batch(SimpleNamespace(num_classes=3, image_size=8, batch_size=64), CPU)
    assert (batch.images.shape, batch.images.dtype) == ((64, 3, 8, 8), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.images.min(), batch.images.max()) == (0, 255)
    assert batch.labels.unique().tolist() == [0, 1, 2]
    assert batch.indices.tolist() == list(range(64))
