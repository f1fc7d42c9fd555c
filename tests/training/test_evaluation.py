"""An evaluation measures the logits' top-1, top-5 and loss, and logs each once per epoch."""

import pytest
import torch
import torch.nn.functional as F

from xnorlit.data import Batch
from xnorlit.training.evaluation import Evaluation


class Given(Evaluation):
    """Logits that do not depend on the images."""

    def __init__(self, logits):
        super().__init__()
        self.count_right(logits.shape[1])
        self.logits, self.logged = logits, {}

    def forward(self, images):
        return self.logits

    def log(self, name, value, **how):
        self.logged[name] = value, how


@pytest.mark.parametrize("stage", ["val", "test"])
def test_each_value_is_logged_once_an_epoch_over_the_samples_of_all_processes(stage):
    torch.manual_seed(0)
    module, labels = Given(torch.randn(6, 10)), torch.tensor([0, 1, 2, 3, 4, 5])
    step = {"val": module.validation_step, "test": module.test_step}[stage]
    found = step(Batch(torch.zeros(6, 3, 1, 1), labels, torch.arange(6) + 7), 0)
    assert found.keys() == {"indices", "labels", "logits"}
    assert (found["indices"].tolist(), found["labels"].tolist()) == ([7, 8, 9, 10, 11, 12], labels.tolist())
    assert torch.equal(found["logits"], module.logits)
    loss, top1, top5 = (module.logged.pop(f"{stage}/{name}") for name in ("loss", "top1", "top5"))
    assert not module.logged
    each_epoch = {"on_step": False, "on_epoch": True, "batch_size": 6}
    assert loss[1] == {"sync_dist": True, **each_epoch}, "the loss of a batch is a number; torchmetrics reduces itself"
    assert (top1[1], top5[1]) == ({"prog_bar": True, **each_epoch}, each_epoch)
    torch.testing.assert_close(loss[0], F.cross_entropy(module.logits, labels))
    assert (top1[0], top5[0]) == (module.top1, module.top5)
    ranks = (module.logits > module.logits.gather(1, labels[:, None])).sum(1)
    assert module.top1.compute() == (ranks < 1).float().mean()
    assert module.top5.compute() == (ranks < 5).float().mean()


def test_accuracies_do_not_wait_for_a_gpu():
    """torchmetrics' check of its arguments reads every batch on the CPU."""
    module = Given(torch.randn(2, 3))
    assert (module.top1.validate_args, module.top5.validate_args) == (False, False)


def test_a_prediction_is_of_the_images_at_these_positions():
    module = Given(torch.randn(2, 3))
    found = module.predict_step(Batch(torch.zeros(2, 3, 1, 1), torch.tensor([2, 0]), torch.tensor([5, 4])), 0)
    assert {key: value.tolist() for key, value in found.items()} == {
        "indices": [5, 4],
        "labels": [2, 0],
        "logits": module.logits.tolist(),
    }


def test_the_top_five_of_three_classes_are_all():
    module = Given(torch.eye(3))
    module.validation_step(Batch(torch.zeros(3, 3, 1, 1), torch.tensor([1, 2, 0]), torch.arange(3)), 0)
    assert (module.top1.compute(), module.top5.compute()) == (0, 1)
