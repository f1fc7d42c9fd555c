"""The bench times the right network of each run. The times themselves are not tested."""

from types import SimpleNamespace

import pytest
from torch import nn

from tests.runs.factory import write_run
from xnorlit.bench import one_image as module
from xnorlit.bench.one_image import one_image
from xnorlit.runs import read


def run(root, name, **config):
    seed = len(list(root.rglob("seed-*")))
    arm = "float" if name == "float.Float" else "xnor"
    config["model.binarizer"] = {"class_path": f"xnorlit.binarize.{name}"}
    return read(write_run(root, arm, seed, config=config))


def test_few_bits_run_on_the_engine_the_twin_in_torch_and_what_cannot_pack_is_left_out(tmp_path, monkeypatch):
    answers = {}

    def by_turns(calls, rounds):
        answers.update({name: call() for name, call in calls.items()})
        return SimpleNamespace(steady={name: [float(place)] * rounds for place, name in enumerate(calls, start=1)})

    monkeypatch.setattr(module, "by_turns", by_turns)
    runs = {name: run(tmp_path, name) for name in ("xnor.XNOR", "float.Float", "ttq.TTQ")}
    found = one_image(runs, rounds=3)
    assert list(answers) == [("xnor.XNOR", ""), ("float.Float", "fp32"), ("float.Float", "fp32 channels_last")]
    assert all(tuple(logits.shape) == (1, 10) for logits in answers.values())
    assert {name: figure.median for name, figure in found.items()} == {"xnor.XNOR": 1, "float.Float": 2}
    assert all(figure.rounds == 3 for figure in found.values())


def test_it_measures_seconds_of_a_network(tmp_path):
    found = one_image({"one": run(tmp_path, "xnor.XNOR")}, rounds=2)
    assert 0 < found["one"].least <= found["one"].median


@pytest.mark.parametrize("network", ["alexnet-small", "cnv", "resnet20"])
def test_a_float_network_is_timed_as_torchs_own_modules(tmp_path, monkeypatch, network):
    """Our layers' evaluation rounds for a packed network's sake, which would make the twin slow."""
    twins = []

    def calls(twin, images):
        twins.append(twin)
        return {"fp32": lambda: twin(images)}

    monkeypatch.setattr(module, "fp32_networks", calls)
    one_image({"twin": run(tmp_path, "float.Float", **{"model.network": network})}, rounds=1)
    ours = {type(each).__name__ for each in twins[0].modules() if type(each).__module__.startswith("xnorlit.layers")}
    assert ours == set()
    assert any(isinstance(each, nn.Conv2d) for each in twins[0].modules())
