"""Layer curves: hand-computed values, reported at the right steps for the right layers."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger

from tests.training.test_module import fit
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.float import Float
from xnorlit.binarize.straight_through import sign
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.training.layer_curves import LayerCurves, dead, flips, saturated, signs
from xnorlit.training.module import Classifier

STEPS = 4  # of one epoch: 32 images in batches of 8
BINARY = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
EVERY = ("conv1", *BINARY, "fc8")


class Rows(DummyLogger):
    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        if any(key.startswith("layer/") for key in metrics):
            self.rows.append((step, metrics))


def rows(photos, binarizer, *callbacks, **trainer):
    torch.manual_seed(0)
    logger, module = Rows(), Classifier("alexnet-small", binarizer)
    fit(
        photos,
        module,
        **{"epochs": 2, "logger": logger, "callbacks": list(callbacks), "limit_val_batches": 0, **trainer},
    )
    return logger.rows, module


def test_values_by_hand():
    x = torch.tensor([[[1.5, 1.0], [-1.0, 0.0], [-2.0, -3.0]], [[0.5, 0.0], [0.0, 0.0], [-0.1, -0.2]]])
    assert saturated(x).item() == pytest.approx(3 / 12)
    assert dead(sign(x)).item() == pytest.approx(2 / 3), "the first channel is never negative, the last always"
    assert dead(torch.tensor([[1.0, -1.0], [1.0, 1.0]])).item() == 0.5
    assert dead(torch.tensor([[0.0, 3.0], [0.0, 2.0]])).item() == 0.5, "codes of two bits"
    before, after = torch.tensor([0.1, -0.1, 0.0, -3.0, 2.0]), torch.tensor([-0.1, -5.0, -0.0, 3.0, 0.1])
    assert flips(signs(before), signs(after), 5) == pytest.approx(2 / 5), "zero and minus zero are both +1"


def test_a_sign_is_one_bit_and_that_of_zero_is_positive():
    packed = signs(torch.tensor([[0.1, -0.1, 0.0], [-0.0, -3.0, torch.inf]], requires_grad=True))
    assert packed.dtype == torch.uint8
    assert packed.tolist() == [0b10110100]


def test_the_last_step_of_each_epoch_is_reported(photos):
    found, module = rows(photos, XNOR(), LayerCurves())
    assert [step for step, _ in found] == [STEPS - 1, 2 * STEPS - 1]
    assert [metrics["epoch"] for _, metrics in found] == [0, 1]
    expected = {f"layer/{name}/gradient" for name in EVERY} | {"epoch"}
    expected |= {f"layer/{name}/{what}" for name in BINARY for what in ("flips", "alpha", "saturated", "dead")}
    assert found[-1][1].keys() == expected
    weight = module.net.conv3.conv.weight
    assert found[-1][1]["layer/conv3/alpha"] == pytest.approx(weight.abs().mean().item(), rel=1e-5)
    assert found[-1][1]["layer/conv3/gradient"] == pytest.approx(weight.grad.norm().item(), rel=1e-5)
    assert 0 < found[0][1]["layer/fc6/flips"] < 1
    assert not [hook for layer in module.net.modules() for hook in layer._forward_pre_hooks]


def test_flips_count_from_the_previous_report(photos):
    """Over one epoch they count signs that differ from the initial ones, even if they flipped in between."""
    start = {}

    class Start(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            start["fc7"] = pl_module.net.fc7.linear.weight >= 0

    found, module = rows(photos, XNOR(), LayerCurves(), Start(), epochs=1)
    share = (start["fc7"] != (module.net.fc7.linear.weight >= 0)).float().mean()
    assert found[0][1]["layer/fc7/flips"] == pytest.approx(share.item())


def test_every_n_steps_count_optimizer_steps(photos):
    assert [step for step, _ in rows(photos, XNOR(), LayerCurves(every=3))[0]] == [2, 5]
    found, _ = rows(photos, XNOR(), LayerCurves(every=1), accumulate_grad_batches=2)
    assert [step for step, _ in found] == [0, 1, 2, 3]


def test_a_layer_reports_what_it_has(photos):
    (_, metrics), *_ = rows(photos, Float(), LayerCurves(), epochs=1)[0]
    assert metrics.keys() == {f"layer/{name}/gradient" for name in EVERY} | {"epoch"}
    (_, metrics), *_ = rows(photos, BWN(), LayerCurves(), epochs=1)[0]
    assert "layer/conv3/flips" in metrics
    assert "layer/conv3/dead" not in metrics


def test_a_layer_is_dead_when_its_codes_are_constant_whatever_its_signs(photos):
    class Small(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            if trainer.global_step == STEPS - 1:
                pl_module.net.conv3.norm.weight.data.fill_(1e-3)  # of either sign, and below DoReFa's threshold of 0.5
                pl_module.net.conv3.norm.bias.data.zero_()

    (_, metrics), *_ = rows(photos, DoReFa(), Small(), LayerCurves(), epochs=1)[0]
    assert metrics["layer/conv3/dead"] == 1
    assert metrics["layer/conv2/dead"] < 1


def test_the_signs_survive_a_checkpoint():
    curves, other = LayerCurves(), LayerCurves()
    curves._signs = {"conv2": signs(torch.randn(3, 5))}
    other.load_state_dict(curves.state_dict())
    assert torch.equal(other._signs["conv2"], curves._signs["conv2"])


def test_no_steps_are_refused():
    with pytest.raises(UserError, match="every is 0"):
        LayerCurves(every=0)
