"""Predictions are the likeliest classes of every image, of all processes, in the listing's order."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from xnorlit.training import predictions
from xnorlit.training.predictions import Predictions, PredictionsFile, write


def logits(count, classes, seed=0):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [3, 5, 9])
def test_the_five_likeliest_come_first_and_the_images_in_the_order_of_their_listing(classes):
    made, indices, labels = logits(6, classes), torch.tensor([4, 0, 5, 1, 3, 2]), torch.arange(6) + 10
    collected = Predictions()
    for start in (0, 4):
        part = slice(start, start + 4)
        collected.add(indices[part].int(), labels[part].int(), made[part])
    found = collected.gathered()
    order = indices.argsort()
    assert found["index"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["label"].tolist() == labels[order].tolist()
    best = made[order].sort(1, descending=True)
    assert torch.equal(found["top5"], best.indices[:, :5])
    assert torch.equal(found["top5_logit"], best.values[:, :5])
    assert {key: found[key].dtype for key in ("index", "label", "top5")} == dict.fromkeys(
        ("index", "label", "top5"), torch.int64
    )
    assert all(value.is_contiguous() for value in found.values())


def test_logits_of_half_precision_are_compared_in_fp32():
    collected = Predictions()
    collected.add(torch.arange(2), torch.arange(2), logits(2, 4).bfloat16())
    assert collected.gathered()["top5_logit"].dtype == torch.float32


@pytest.mark.parametrize(("available", "initialised"), [(True, True), (True, False), (False, True)])
def test_the_images_of_all_processes_are_gathered(available, initialised, monkeypatch):
    mine, other = Predictions(), Predictions()
    mine.add(torch.tensor([2, 0]), torch.tensor([2, 0]), logits(2, 6))
    other.add(torch.tensor([1, 3]), torch.tensor([1, 3]), logits(2, 6, 1))

    def gather(everyone, parts):
        assert len(everyone) == 2
        everyone[:] = [parts, other._parts]

    monkeypatch.setattr(
        predictions.torch,
        "distributed",
        SimpleNamespace(
            is_available=lambda: available,
            is_initialized=lambda: initialised,
            get_world_size=lambda: 2,
            all_gather_object=gather,
        ),
    )
    expected = [0, 1, 2, 3] if available and initialised else [0, 2]
    found = mine.gathered()
    assert (found["index"].tolist(), found["label"].tolist()) == (expected, expected)


def test_a_file_has_texts_as_they_are_and_everything_else_as_json(tmp_path):
    write({"index": torch.arange(2)}, tmp_path / "file", classes=["ä", "b"], split="val", epoch=3)
    with safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"classes": json.dumps(["ä", "b"]), "split": "val", "epoch": "3"}
        assert file.get_tensor("index").tolist() == [0, 1]


@pytest.mark.parametrize("first", [True, False])
def test_predict_writes_the_file_in_the_first_process_alone(first, tmp_path, capsys):
    writer = PredictionsFile(tmp_path / "out.safetensors")
    data = SimpleNamespace(classes=("a", "b"), source="photos", listing_hash=lambda split: f"hash of {split}")
    trainer = SimpleNamespace(datamodule=data, is_global_zero=first, current_epoch=4)
    outputs = {"indices": torch.tensor([1, 0]), "labels": torch.tensor([1, 1]), "logits": torch.eye(2)}
    writer.on_predict_batch_end(trainer, None, outputs, None, 0)
    writer.on_predict_end(trainer, None)
    said = capsys.readouterr().out
    assert (tmp_path / "out.safetensors").exists() is first
    if not first:
        assert said == ""
        return
    assert f"the five likeliest classes of 2 images: {tmp_path / 'out.safetensors'}" in said
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        told = file.metadata()
        assert file.get_tensor("top5").tolist() == [[1, 0], [0, 1]]
    assert told == {
        "classes": '["a", "b"]',
        "listing_sha256": "hash of val",
        "split": "val",
        "source": "photos",
        "epoch": "4",
    }
