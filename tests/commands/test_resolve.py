"""The recorded configuration of a command line can be read again."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml

from tests.compat import tiny
from xnorlit.commands import resolve
from xnorlit.training.environment import PACKAGES, _version, changes_since

WORDS = ["--model.network=compat-tiny", "--model.binarizer=XNOR", "--trainer.max_epochs=1"]


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["xnorlit"])
    tiny.register(monkeypatch.setattr)


@pytest.mark.parametrize(
    "callback",
    [
        "pytorch_lightning.callbacks.StochasticWeightAveraging",
        "pytorch_lightning.callbacks.WeightAveraging",
        "EMAWeightAveraging",
    ],
)
def test_callbacks_that_average_weights_are_recorded_whole(tmp_path, callback):
    listed = [
        {"class_path": callback, "init_args": {"swa_lrs": 0.1} if "Stochastic" in callback else {"device": "cpu"}}
    ]
    (answer,) = resolve.resolved([[*WORDS, f"--trainer.callbacks={json.dumps(listed)}"]])
    assert answer["config"]["trainer"]["callbacks"][0]["init_args"]["device"] == "cpu"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(answer["config"]))
    assert resolve.resolved([["-c", str(file)]]) == [answer]


class Odd(pl.Callback):
    """A callback with a default setting that cannot be written as text."""

    def __init__(self, thing: Callable | None = lambda x: x) -> None:
        self.thing = thing


def test_a_setting_that_cannot_be_written_is_refused_by_name():
    (answer,) = resolve.resolved([[*WORDS, f"--trainer.callbacks={__name__}.Odd"]])
    assert "init_args.thing cannot be recorded" in answer.get("error", "")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"packages": 1}'])
def test_an_environment_that_cannot_be_read_changes_nothing(tmp_path, content):
    (tmp_path / "environment.json").write_text(content)
    assert changes_since(tmp_path / "environment.json") == ""
    assert changes_since(Path("nowhere")) == ""


def test_versions_that_changed_since_the_run_started_are_listed(tmp_path):
    packages = {name: version for name in PACKAGES if (version := _version(name))}
    file = tmp_path / "environment.json"
    file.write_text(json.dumps({"packages": packages, "git": {"commit": None}}))
    assert changes_since(file) == ""
    file.write_text(json.dumps({"packages": {**packages, "torch": "1.0"}, "git": {"commit": "a" * 40}}))
    assert changes_since(file).startswith(f"torch 1.0 -> {_version('torch')}, git aaaaaaa -> ")
