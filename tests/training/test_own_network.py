"""A user's own module, given by class path, is trained, paired, packed and resumed like a built-in network."""

import json
import os
import re
import signal

import pytest
import torch
import yaml
from torch import nn

from tests.faults import forked
from tests.faults.test_kills import OFTEN, killed_at
from xnorlit import XNOR, BinaryConv2d, Float, UserError, XNORPlusPlus, compare, load, runs
from xnorlit.layers import BinaryLayer
from xnorlit.training.module import Classifier
from xnorlit.training.own_network import Conversion, OwnSpec


class Net(nn.Module):
    """Four layers, with a ReLU in front of one that will be binary."""

    def __init__(self, classes: int, width: int = 8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, stride=4, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.mid = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(64 * width, classes)

    def forward(self, x):
        return self.head(torch.flatten(self.last(self.act(self.norm(self.mid(self.stem(x))))), 1))


class Held(nn.Module):
    """A network with a binary layer and a real one."""

    def __init__(self):
        super().__init__()
        self.real = BinaryConv2d(3, 4, 3, binarizer=Float())
        self.few = BinaryConv2d(4, 4, 3, binarizer="BNN")

    def forward(self, x):
        return self.few(self.real(x)).mean((2, 3))


def made(classes: int = 3) -> nn.Module:
    """A function may also create the network."""
    return Net(classes)


def line(photos, root, tmp_path, arm, binarizer, network="Net", **more):
    file = tmp_path / f"{arm}.yaml"
    own = {"class_path": f"{__name__}.{network}", "init_args": {"classes": 3}}
    file.write_text(yaml.safe_dump({"model": {"network": own, "conversion": {"skip": ["stem", "head"]}}}))
    words = forked.words(photos, root, model__network=None, model__binarizer=binarizer, run__arm=arm, **more)
    return ["fit", "-c", str(file), *words[1:]]


@pytest.fixture(scope="module")
def pair(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    for arm in ("XNOR", "Float"):
        forked.train(line(photos, root, root, arm, arm), root / "log")
    return [root / "unnamed" / "pair-0" / arm / "seed-0" for arm in ("XNOR", "Float")]


def test_both_arms_of_a_pair_start_with_the_same_weights_and_compare(pair):
    one, other = (runs.read(run) for run in pair)
    assert one.summary.codes == {"stem.0": (32, 32), "mid": (1, 1), "last": (1, 1), "head": (32, 32)}
    assert other.summary.codes == dict.fromkeys(one.summary.codes, (32, 32))
    assert one.flat_config["model.network.init_args.classes"] == 3
    assert {"layer/mid/flips", "layer/last/alpha"} <= one.curves.series.keys()
    said = (pair[0].parents[3] / "log").read_text()
    assert "the same command with --model.binarizer Float --run.arm float" in said
    found = compare([one, other])
    assert not [note for note in found.notes if "differ" in note and "network" in note]


def test_only_the_seed_determines_the_initial_weights():
    begun = []
    for binarizer in (XNOR(), Float()):
        torch.manual_seed(3)
        begun.append(OwnSpec(lambda: Net(3), binarizer).build(classes=3, image_size=32).body)
    for name in ("stem.0", "mid", "last", "head"):
        assert torch.equal(*(body.get_submodule(name).weight for body in begun)), name


def test_it_is_packed_and_answers_as_the_module_does(pair, tmp_path):
    packing = forked.Training(["pack", str(pair[0])], tmp_path / "log")
    assert packing.wait() == 0, packing.said
    assert "the five likeliest, in order, differ for 0 of 7 images" in packing.said
    network = load(pair[0] / "packed.safetensors")
    assert network.graph.network == "Net"


@pytest.mark.parametrize("network", ["Net", "made"])
def test_a_killed_run_of_it_ends_like_an_uninterrupted_one(network, photos, tmp_path):
    begin = line(photos, tmp_path / "killed", tmp_path, "x", "XNOR", network, run__checkpoint_minutes=OFTEN)
    killed = forked.Training(begin, tmp_path / "log", killed_at("a file has just got its name", 6))
    assert killed.wait() == -signal.SIGKILL, killed.said
    forked.train(begin, tmp_path / "log")
    forked.train(line(photos, tmp_path / "whole", tmp_path, "x", "XNOR", network), tmp_path / "log")
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "killed"))) == []


def test_layers_of_this_package_get_the_arms_binarizer_and_real_ones_stay_real():
    net = OwnSpec(Held, XNOR()).build(classes=4)
    assert [type(layer.binarizer).__name__ for _, layer in net.layers()] == ["Float", "XNOR"]
    twin = OwnSpec(Held, Float()).build(classes=4)
    assert [type(layer.binarizer).__name__ for _, layer in twin.layers()] == ["Float", "Float"]
    other = OwnSpec(Held, Float(), {"few": XNOR()}).build(classes=4)
    assert dict(other.layers())["few"].binarizer.weight_bits == 1
    with pytest.raises(UserError, match=r"model\.layers: no layer of Held matches 'fwe'\. Did you mean few\?"):
        OwnSpec(Held, XNOR(), {"fwe": Float()}).build(classes=4)


def test_layers_of_this_package_keep_their_own_settings_in_each_arm():
    def made():
        layer = BinaryConv2d(3, 4, 3, binarizer="XNOR", rectify=True, extent=(6, 6))
        return nn.Sequential(nn.BatchNorm2d(3), layer, nn.Flatten(), nn.Linear(144, 4))

    twin = OwnSpec(made, Float()).build(classes=4).body
    x = torch.randn(2, 3, 8, 8)
    expected = nn.functional.conv2d(twin[0](x).relu(), twin[1].weight, twin[1].bias)
    torch.testing.assert_close(twin[:2](x), expected)  # not a linear map
    for spec in (OwnSpec(made, XNORPlusPlus(scale="rank-1")), OwnSpec(made, XNOR(), {"1": XNORPlusPlus("rank-1")})):
        ((_, layer),) = spec.build(classes=4).layers()
        assert (layer.binarizer.height.shape, layer.binarizer.width.shape) == ((6, 1), (6,))


def test_a_constructor_that_fails_and_a_class_path_as_a_name_are_reported():
    def broken():
        raise IndexError("no such layer")

    with pytest.raises(UserError, match=r"model\.network could not be created: IndexError: no such layer\."):
        OwnSpec(broken, XNOR()).build(classes=3)
    with pytest.raises(UserError, match=r"--model\.network\.class_path mine\.Net"):
        Classifier("mine.Net", XNOR())


def test_a_check_keeps_no_gradients_and_leaves_the_network_in_training_mode():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.few = BinaryConv2d(3, 3, 1, binarizer="BNN")

        def forward(self, x):
            seen.append((torch.is_grad_enabled(), self.training, x.dtype, tuple(x.shape), x.max().item()))
            return x.mean((2, 3))

    net = OwnSpec(Watched, XNOR()).build(classes=3)
    net.check(3, 8)
    assert seen == [(False, False, torch.float32, (2, 3, 8, 8), -1.0)], "two black images"
    assert net.training
    with pytest.raises(UserError, match=r"returns \(2, 3\) for two images and 4 classes\. Expected \(2, 4\)"):
        net.check(4, 8)


@pytest.mark.parametrize("made", [3, "Net", None])
def test_what_is_no_module_is_refused(made):
    with pytest.raises(UserError, match=rf"model\.network is a {type(made).__name__}\. Expected a torch\.nn\.Module"):
        OwnSpec(lambda: made, XNOR()).build(classes=3)


def test_a_relu_in_front_of_a_sign_is_replaced_only_in_the_binary_arm():
    settings = Conversion(skip=["stem", "head"])
    binary, twin = (OwnSpec(lambda: Net(3), arm, {}, settings).build(classes=3).body for arm in (XNOR(), Float()))
    assert isinstance(binary.act, nn.PReLU)
    assert isinstance(twin.act, nn.ReLU)
    assert not isinstance(binary.head, BinaryLayer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init_args": {"classes": 5}}, r"Net returns \(2, 5\) for two images and 3 classes\. Expected \(2, 3\)"),
        ({"init_args": {"classes": 3, "wdth": 4}}, r"Net has no setting wdth .*Did you mean width"),
        ({"class_path": f"{__name__}.Nett"}, r"model\.network: .*Nett is no network \(.*\)\. Did you mean Net\?"),
        ({"class_path": "json.dumps"}, r"model\.network"),
        ({"class_path": "json.JSONEncoder"}, r"model\.network: json\.JSONEncoder is no network"),
        ({"class_path": "jsonn.Net"}, r"jsonn\.Net is no network \(No module named 'jsonn'\)"),
        ({"image_size": 64}, r"Net does not accept fp32 images \(N, 3, 64, 64\)"),
    ],
)
def test_mistakes_are_reported_before_anything_is_trained(change, message, photos, tmp_path):
    begin = line(photos, tmp_path / "runs", tmp_path, "x", "XNOR")
    file = tmp_path / "x.yaml"
    content = yaml.safe_load(file.read_text())
    begin += [f"--data.image_size={change.pop('image_size')}"] if "image_size" in change else []
    content["model"]["network"].update(change)
    file.write_text(yaml.safe_dump(content))
    training = forked.Training(begin, tmp_path / "log")
    assert training.wait() == 2, training.said
    assert re.search(message, training.said), training.said
    assert "Traceback" not in training.said
    assert not (tmp_path / "runs").exists()


def test_a_network_of_the_working_folder_is_found(photos, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from tests.training.test_own_network import Net\n")
    begin = line(photos, tmp_path / "runs", tmp_path, "x", "XNOR", trainer__max_epochs=1)
    text = (tmp_path / "x.yaml").read_text()
    (tmp_path / "x.yaml").write_text(text.replace(f"{__name__}.Net", "mine.Net"))
    forked.train(begin, tmp_path / "log", lambda: os.chdir(tmp_path))
    config = yaml.safe_load((forked.folder(tmp_path / "runs") / "config.yaml").read_text())
    assert json.dumps(config["model"]["network"]).count("Net")
