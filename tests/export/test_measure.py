"""An accuracy is the share of images whose class is among the likeliest."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xnorlit.data import Batch
from xnorlit.export.measure import Answers, answers

FOUND = Answers(np.array([3, 1, 4, 0]), np.array([[3, 0, 1], [0, 1, 2], [0, 1, 4], [1, 2, 3]]))


@pytest.mark.parametrize(("k", "share"), [(1, 0.25), (2, 0.5), (3, 0.75), (5, 0.75)])
def test_the_share_of_the_k_likeliest(k, share):
    assert FOUND.share(k) == share


@pytest.mark.parametrize("there", [True, False])
def test_a_packed_file_names_the_images_but_no_path_of_this_machine(there, tmp_path):
    source = str(tmp_path / "photos") if there else "cifar10"
    (tmp_path / "photos").mkdir()
    data = SimpleNamespace(source=source, listing_hash=lambda split: f"hash of {split}")
    accuracy = FOUND.accuracy(data)
    assert (accuracy.top1, accuracy.top5, accuracy.images) == (0.25, 0.75, 4)
    assert (accuracy.data, accuracy.split, accuracy.listing_sha256) == (
        "photos" if there else "cifar10",
        "val",
        "hash of val",
    )


def test_every_image_is_answered_in_the_order_of_its_listing():
    class Loader(list):
        """Two batches."""

    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    parts = [slice(0, 3), slice(3, 5)]
    order = torch.tensor([4, 0, 3, 1, 2])
    pictures = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 1, 1)
    batches = Loader(Batch(pictures[order[part]], order[part] + 1, order[part]) for part in parts)

    def forward(images):
        assert torch.is_inference_mode_enabled()
        return logits[images[:, 0, 0, 0].long()]

    found = answers(forward, SimpleNamespace(val_dataloader=lambda: batches), "it")
    assert found.labels.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found.top5, logits.topk(5).indices.numpy())
