"""Predictions are never trusted: an invalid file is refused with the reason."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import Predictions

METADATA = {"classes": '["a", "b", "c"]', "listing_sha256": "f" * 64, "split": "val", "source": "here", "epoch": "4"}


def arrays() -> dict[str, np.ndarray]:
    """Four images of three classes: right, second, third, right."""
    return {
        "index": np.array([0, 2, 3, 7]),
        "label": np.array([0, 1, 2, 2]),
        "top5": np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [2, 0, 1]]),
        "top5_logit": np.array([[3, 2, 1]] * 4, np.float32),
    }


def saved(folder: Path, changes: dict | None = None, metadata: dict | None = None) -> Path:
    file = folder / "predictions.safetensors"
    tensors = arrays() | (changes or {})
    save_file({k: v for k, v in tensors.items() if v is not None}, file, METADATA | (metadata or {}))
    return file


def test_predictions_read_back(tmp_path):
    predictions = Predictions.load(saved(tmp_path))
    assert len(predictions) == 4
    assert predictions.classes == ("a", "b", "c")
    assert (predictions.epoch, predictions.split, predictions.source) == (4, "val", "here")
    assert predictions.correct(1).tolist() == [True, False, False, True]
    assert predictions.correct(2).tolist() == [True, True, False, True]
    assert predictions.correct(5).all()  # three classes only
    np.testing.assert_array_equal(predictions.index, [0, 2, 3, 7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "expected the tensors"),
        ({"extra": np.zeros(1)}, "expected the tensors"),
        ({"label": np.zeros(4, np.int32)}, "expected the tensors"),
        ({"top5_logit": np.zeros((4, 3), np.float16)}, "expected the tensors"),
        ({"index": np.array([[0, 2], [3, 7]])}, r"expected index to be a vector, found shape \(2, 2\)"),
        ({"index": np.array(3)}, r"expected index to be a vector, found shape \(\)"),
        ({"label": np.zeros(3, np.int64)}, r"expected label of shape \(4,\), found \(3,\)"),
        ({"top5": np.zeros((4, 5), np.int64)}, r"expected top5 of shape \(4, 3\), found \(4, 5\)"),
        ({"top5_logit": np.zeros((4, 2), np.float32)}, r"expected top5_logit of shape \(4, 3\)"),
        ({"index": np.array([0, 3, 2, 7])}, "expected each image once, in order"),
        ({"index": np.array([0, 2, 2, 7])}, "expected each image once, in order"),
        ({"index": np.array([-1, 2, 3, 7])}, "expected each image once, in order"),
        ({"label": np.array([0, 1, 2, 3])}, "label names a class beyond the 3 listed"),
        ({"label": np.array([0, 1, 2, -1])}, "label names a class beyond the 3 listed"),
        ({"top5": np.array([[0, 1, 9]] * 4)}, "top5 names a class beyond the 3 listed"),
        ({"top5": np.array([[0, 1, 1]] * 4)}, "top5 lists a class twice for one image"),
        ({"top5_logit": np.array([[1, 2, 3]] * 4, np.float32)}, "expected the likeliest class first"),
    ],
)
def test_arrays_that_no_run_writes_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"is not a run's predictions: {message}.*Train the run again"):
        Predictions.load(saved(tmp_path, changes))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"classes": "a, b, c"}, "the classes in its metadata as a JSON list of strings"),
        ({"classes": "[1, 2, 3]"}, "the classes in its metadata as a JSON list of strings"),
        ({"classes": "[]"}, "the classes in its metadata as a JSON list of strings"),
        ({"classes": "[" * 100_000}, "the classes in its metadata as a JSON list of strings"),
        ({"classes": '["a", "b", "a"]'}, "a class is listed twice"),
        ({"listing_sha256": ""}, "its metadata lacks listing_sha256"),
        ({"epoch": "last"}, "expected a number as epoch, found 'last'"),
    ],
)
def test_metadata_that_no_run_writes_is_refused(tmp_path, metadata, message):
    with pytest.raises(UserError, match=message):
        Predictions.load(saved(tmp_path, metadata=metadata))


def test_a_file_without_images_is_refused(tmp_path):
    empty = {name: array[:0] for name, array in arrays().items()}
    with pytest.raises(UserError, match=r"contains no predictions\. Give the run a validation set"):
        Predictions.load(saved(tmp_path, empty))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_network_is_reported_as_diverged(tmp_path, value):
    logits = arrays()["top5_logit"]
    logits[2, 0] = value
    with pytest.raises(
        UserError, match=r"NaN or infinite for 1 of 4 images\. The run diverged: lower the learning rate"
    ):
        Predictions.load(saved(tmp_path, {"top5_logit": logits}))


@pytest.mark.parametrize("kept", [0, 4, 20, 500, -1])
def test_a_truncated_file_is_refused_too(tmp_path, kept):
    file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match="is damaged or truncated"):
        Predictions.load(file)


@pytest.mark.parametrize(
    "header",
    [
        {"index": {"dtype": "I64", "shape": [2**62], "data_offsets": [0, 8]}},
        {"index": {"dtype": "I64", "shape": [1], "data_offsets": [0, 2**40]}},
        {"index": {"dtype": "I64", "shape": [1], "data_offsets": [8, 0]}},
        {"index": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}},
        {"index": "text"},
    ],
)
def test_a_hostile_header_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    file = tmp_path / "predictions.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(UserError, match=r"predictions\.safetensors is (damaged|not a run's predictions)"):
        Predictions.load(file)


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    file = tmp_path / "predictions.safetensors"
    file.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(UserError, match="is damaged or truncated"):
        Predictions.load(file)


def test_the_factory_writes_the_same_as_training(tmp_path):
    tensors = load_file(write_run(tmp_path, "xnor", images=30, right=20) / "predictions.safetensors")
    assert {name: (array.dtype.name, array.shape) for name, array in tensors.items()} == {
        "index": ("int64", (30,)),
        "label": ("int64", (30,)),
        "top5": ("int64", (30, 5)),
        "top5_logit": ("float32", (30, 5)),
    }
