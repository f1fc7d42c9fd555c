"""One operand stays real until the step given by the share, also in a resumed run."""

import pytest
import pytorch_lightning as pl
import torch

from tests.training.test_module import fit
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.training.module import Classifier
from xnorlit.training.stages import TwoStages

STEPS = 4  # of one epoch: 32 images in batches of 8


class Watch(pl.Callback):
    """Record at each step whether the weights and inputs of conv3 are signs times a scale in the forward."""

    def __init__(self):
        self.binary = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        layer = pl_module.net.conv3.conv

        def note(x, weight):
            self.binary.append((len(weight[0].abs().unique()) == 1, len(x.unique()) == 2))
            return type(layer).operate(layer, x, weight)

        layer.operate = note


def watched(photos, *callbacks, **trainer):
    torch.manual_seed(0)
    watch, module = Watch(), Classifier("alexnet-small", XNOR(center=False))
    return watch, fit(photos, module, epochs=2, callbacks=[*callbacks, watch], limit_val_batches=0, **trainer)


@pytest.mark.parametrize(("real", "held"), [("weights", (False, True)), ("inputs", (True, False))])
def test_one_operand_is_real_up_to_the_share_of_the_steps(real, held, photos, capsys):
    watch, _ = watched(photos, TwoStages(real, share=0.4))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[stage]")]
    assert [line.partition("]")[2].strip() for line in lines] == [
        f"real {real} in training, from step 0",
        "few-bit weights and inputs, from step 4",
    ]
    assert watch.binary == [held] * 4 + [(True, True)] * 4, "step 4 is the first at or beyond 0.4 * 8"


def test_with_a_share_of_all_steps_it_stays_real_to_the_end(photos):
    watch, _ = watched(photos, TwoStages(share=1.0))
    assert watch.binary == [(False, True)] * 8


def test_the_share_is_of_optimizer_steps(photos):
    watch, _ = watched(photos, TwoStages(share=0.5), accumulate_grad_batches=2)
    assert watch.binary == [(False, True)] * 4 + [(True, True)] * 4


def test_evaluation_uses_the_codes_in_both_stages(photos):
    torch.manual_seed(0)
    module = Classifier("alexnet-small", XNOR())
    fit(photos, module, limit_train_batches=1)
    x, layer = torch.randn(2, 96, 8, 8), module.net.conv3.conv
    binary = layer.eval()(x)
    layer.keep_real("weights")
    assert torch.equal(layer(x), binary)
    assert not torch.allclose(layer.train()(x), binary)
    layer.keep_real(None)
    assert torch.allclose(layer(x), binary, atol=1e-5)


class Save(pl.Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def test_a_resumed_run_is_in_the_stage_of_its_step(photos, tmp_path):
    whole, _ = watched(photos, TwoStages(share=0.3), Save(tmp_path))
    assert whole.binary.index((True, True)) == 3
    for done in (2, 3, 5):
        resumed, _ = watched(photos, TwoStages(share=0.3), ckpt_path=tmp_path / f"{done}.ckpt")
        assert resumed.binary == whole.binary[done:]


@pytest.mark.parametrize("share", [0, 1.01, -0.5, 40])
def test_a_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(UserError, match=f"share is {share}"):
        TwoStages(share=share)
