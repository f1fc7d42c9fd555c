"""Lightning's weight averaging in a run: the average is validated and saved, and survives a resume."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging

from tests.training.test_module import fit
from tests.training.test_stages import Save
from xnorlit.binarize.xnor import XNOR
from xnorlit.models import recalibrate
from xnorlit.training.losses import Loss
from xnorlit.training.losses.cross_entropy import CrossEntropy
from xnorlit.training.module import Classifier
from xnorlit.training.recalibration import Recalibration

WEIGHT = "net.conv3.conv.weight"


class Watch(pl.Callback):
    """Record a layer's weights after each step and in validation."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.trained.append(pl_module.net.conv3.conv.weight.detach().clone())

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append(pl_module.net.conv3.conv.weight.detach().clone())


def averaged(photos, *callbacks, epochs=2, **more):
    torch.manual_seed(0)
    watch, module = Watch(), Classifier("alexnet-small", XNOR())
    callbacks = [EMAWeightAveraging(decay=0.5), *callbacks, watch]
    trainer = fit(photos, module, epochs=epochs, callbacks=callbacks, **more)
    return watch, module, trainer


def test_the_average_is_validated_and_saved(photos, tmp_path):
    watch, module, _ = averaged(photos, Save(tmp_path), epochs=1)
    average = watch.trained[0]
    for weight in watch.trained[1:]:
        average = 0.5 * average + 0.5 * weight
    assert torch.allclose(watch.validated[-1], average, atol=1e-6)
    assert torch.allclose(module.net.conv3.conv.weight, average, atol=1e-6), "and is what the run ends with"
    saved = torch.load(tmp_path / f"{len(watch.trained)}.ckpt", weights_only=True)
    assert torch.allclose(saved["state_dict"][WEIGHT], average, atol=1e-6)


def test_a_resumed_run_has_the_same_average(photos, tmp_path):
    whole, module, _ = averaged(photos, Save(tmp_path))
    again, resumed, _ = averaged(photos, ckpt_path=tmp_path / "3.ckpt")
    assert all(torch.equal(*pair) for pair in zip(whole.trained[3:], again.trained, strict=True))
    assert torch.equal(module.state_dict()[WEIGHT], resumed.state_dict()[WEIGHT])


@pytest.mark.parametrize("order", [1, -1])
def test_the_averages_own_statistics_are_recalibrated_in_either_order(order, photos):
    module = Classifier("alexnet-small", XNOR())
    trainer = fit(photos, module, callbacks=[EMAWeightAveraging(decay=0.5), Recalibration(16)][::order])
    found = {name: value.clone() for name, value in module.net.named_buffers()}
    recalibrate(module.net, (batch.images for batch in trainer.datamodule.training_sample(16)))
    for name, value in module.net.named_buffers():
        assert torch.allclose(found[name].float(), value.float(), atol=1e-6), name


class Remembered(Loss):
    """Keep the network for which it was prepared, as a teacher or a hook would."""

    def prepare(self, net, data, run):
        self.net = net

    def __call__(self, net, batch, logits):
        assert net is self.net
        return logits.new_zeros(())


def test_terms_stay_with_the_network_that_is_trained(photos):
    torch.manual_seed(0)
    module = Classifier("alexnet-small", XNOR(), losses=[Remembered(), CrossEntropy()])
    fit(photos, module, callbacks=[EMAWeightAveraging(decay=0.9)], limit_train_batches=2)
