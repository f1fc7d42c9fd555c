"""A trained float network is binarised, measured before any step, and trained further."""

import json
from functools import partial

import pytest
import torch
import torchvision
import yaml
from torch import nn

from xnorlit.binarize.adabin import AdaBin
from xnorlit.binarize.bwn import BWN, alpha
from xnorlit.binarize.duo import BinaryDuo
from xnorlit.binarize.float import Float
from xnorlit.binarize.irnet import IRNet
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.rbnn import RBNN
from xnorlit.binarize.reactnet import ReActNet
from xnorlit.binarize.siman import SiMaN
from xnorlit.binarize.ttq import TTQ
from xnorlit.binarize.xnor import XNOR
from xnorlit.binarize.xnorplusplus import XNORPlusPlus
from xnorlit.commands.main import main
from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d
from xnorlit.models import build, network_named
from xnorlit.runs import read
from xnorlit.training.own_network import Conversion, OwnSpec
from xnorlit.training.pretrained import inherit


def small(binarizer, classes=3, seed=0):
    torch.manual_seed(seed)
    return build(network_named("alexnet-small"), binarizer, classes=classes, image_size=32)


def saved(net, file):
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.4.0"}, file)
    return file


def test_weights_and_norms_are_copied_and_alpha_is_fitted(tmp_path):
    twin, ours = small(Float(), seed=1), small(XNOR(), seed=2)
    twin.conv3.norm.running_mean.fill_(0.5)
    inherit(ours, saved(twin, tmp_path / "best.ckpt"))
    assert torch.equal(ours.conv3.norm.running_mean, twin.conv3.norm.running_mean)
    for (_, layer), (_, source) in zip(ours.layers(), twin.layers(), strict=True):
        assert torch.equal(layer.weight, source.weight)
    conv3 = ours.conv3.conv
    assert torch.equal(conv3.binarizer.weight_codes(conv3.weight).scale, alpha(twin.conv3.conv.weight))


def test_pixels_stay_normalised_as_this_runs_data_are(tmp_path):
    twin, ours = small(Float()), small(XNOR())
    twin.normalize.mean.fill_(1)
    inherit(ours, saved(twin, tmp_path / "best.ckpt"))
    assert (ours.normalize.mean == 127.5).all()


def test_learned_scales_are_fitted_unless_the_file_has_them(tmp_path):
    first = small(TTQ(), seed=1)
    inherit(first, saved(small(Float(), seed=2), tmp_path / "float.ckpt"))
    plus = first.conv3.conv.binarizer.plus
    weight = first.conv3.conv.weight
    assert plus.item() == pytest.approx(weight[weight > 0.05 * weight.abs().max()].mean().item())
    with torch.no_grad():
        plus.fill_(0.125)
    second = small(TTQ(), seed=3)
    inherit(second, saved(first, tmp_path / "ttq.ckpt"))
    assert second.conv3.conv.binarizer.plus.item() == 0.125


def test_another_methods_tensors_of_the_same_name_are_no_scales(tmp_path):
    """IR-Net and RBNN both have a `t`, which a schedule sets."""
    ours = small(RBNN(), seed=1)
    inherit(ours, saved(small(IRNet(), seed=2), tmp_path / "irnet.ckpt"))
    conv3 = ours.conv3.conv
    fitted = RBNN().for_layer(conv3.weight)
    with torch.no_grad():
        fitted.angle.copy_(conv3.binarizer.angle)
    fitted.fit(conv3.weight)
    assert torch.equal(conv3.binarizer.gain, fitted.gain)
    assert conv3.binarizer.t == ours.conv3.conv.binarizer.t_min


def test_steps_for_other_filters_are_fitted_not_refused(tmp_path):
    ours = small(LSQ(scope="filter"), seed=1)
    inherit(ours, saved(small(LSQ(), seed=2), tmp_path / "lsq.ckpt"))
    conv3 = ours.conv3.conv
    fitted = LSQ(scope="filter").for_layer(conv3.weight)
    fitted.fit(conv3.weight)
    assert torch.equal(conv3.binarizer.weight_step, fitted.weight_step)


def in_a_run(net, run, method, **settings):
    """The checkpoint of a run whose configuration names the network's method."""
    (run / "checkpoints").mkdir(parents=True)
    chosen = {"class_path": f"{method.__module__}.{method.__name__}", "init_args": settings}
    config = {"model": {"network": "alexnet-small", "binarizer": chosen, "losses": [{"class_path": "gone.Loss"}]}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return saved(net, run / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("theirs", "settings", "ours", "kept"),
    [
        (LSQ, {"weight_bits": 4, "input_bits": 4}, LSQ(2, 2), False),
        (LSQ, {"weight_bits": 2, "input_bits": 2}, LSQ(2, 2), True),
        (XNORPlusPlus, {}, SiMaN(), False),
        (XNORPlusPlus, {"clip": False}, XNORPlusPlus(), False),
        (SiMaN, {}, SiMaN(), True),
    ],
    ids=["lsq-4-2", "lsq-2-2", "xnor++-siman", "xnor++-clip", "siman"],
)
def test_a_runs_scales_are_kept_only_by_the_same_method_with_the_same_settings(theirs, settings, ours, kept, tmp_path):
    source = small(theirs(**settings), seed=2)
    learned = source.conv3.conv.binarizer
    with torch.no_grad():
        for value in learned.parameters():
            value.fill_(0.375)
    if isinstance(learned, LSQ):
        learned.started.fill_(True)
    net = small(ours, seed=1)
    inherit(net, in_a_run(source, tmp_path / "run", theirs, **settings))
    found, weight = net.conv3.conv.binarizer, net.conv3.conv.weight
    assert torch.equal(weight, source.conv3.conv.weight)
    fitted = ours.for_layer(weight)
    fitted.fit(weight)
    expected = learned if kept else fitted
    assert found.state_dict().keys() == expected.state_dict().keys()
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["alexnet-torchvision", "alexnet-torchvision-norm"])
def test_torchvisions_file_fits_by_its_own_names(name, tmp_path):
    theirs = torchvision.models.alexnet(weights=None, num_classes=5)
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    ours = build(network_named(name), BWN(), classes=5, image_size=224)
    inherit(ours, tmp_path / "alexnet.pth")
    assert torch.equal(ours.conv4.conv.weight, theirs.features[8].weight)
    assert torch.equal(ours.fc8.linear.bias, theirs.classifier[6].bias)


def test_a_coupled_network_is_decoupled(tmp_path):
    def duo(suffix, stage):
        torch.manual_seed(0)
        return build(network_named(f"alexnet-small-duo{suffix}"), BinaryDuo(stage), classes=3, image_size=32)

    coupled, apart, again = duo("", "coupled"), duo("-decoupled", "decoupled"), duo("-decoupled", "decoupled")
    inherit(apart, saved(coupled, tmp_path / "coupled.ckpt"))
    assert torch.equal(apart.fc7.linear.weight, torch.cat([coupled.fc7.linear.weight / 2] * 2, dim=1))
    assert apart.conv2.norm.bias.unique().tolist() == [-0.25, 0.25]
    inherit(again, saved(apart, tmp_path / "apart.ckpt"))
    assert torch.equal(again.fc7.linear.weight, apart.fc7.linear.weight)


class Own(nn.Module):
    """A user's network with what `binarize_` replaces: a ReLU in two places, a ReLU function, and a pool."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool, self.relu = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU()
        self.one, self.two, self.three = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.again, self.fc = self.relu, nn.Linear(4, 3)

    def forward(self, x):
        x = self.one(self.pool(self.stem(x)))
        x = self.three(torch.relu(self.two(self.again(self.relu(x)))))
        return self.fc(x.mean((2, 3)))


def of_ours():
    layers = (BinaryConv2d(3, 4, 3, binarizer="Float"), BinaryConv2d(4, 4, 3, binarizer="ReActNet"))
    return nn.Sequential(layers[0], nn.BatchNorm2d(4), layers[1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


def own(make, binarizer, seed):
    torch.manual_seed(seed)
    settings = Conversion(skip=["stem", "fc"], norm="pooled") if make is Own else Conversion()
    return OwnSpec(make, binarizer, conversion=settings).build(classes=3)


def designed(name, binarizer, seed):
    torch.manual_seed(seed)
    return build(network_named(name), binarizer, classes=3, image_size=32)


@pytest.mark.parametrize(
    ("make", "binarizer", "added"),
    [
        (partial(designed, "resnet20"), ReActNet(), ["stem.activation.slope", "unit18.activation.after"]),
        (partial(designed, "resnet18-bireal"), AdaBin(), ["unit16.activation.positive"]),
        (partial(own, of_ours), AdaBin(), ["2.post_layer.negative"]),
        (partial(own, Own), XNOR(), ["relu.weight", "again.weight", "activation0.weight", "one.norm.bias"]),
    ],
    ids=["resnet20", "bireal", "layers-of-ours", "own"],
)
def test_what_only_the_binary_arm_has_stays_as_it_begins_and_all_else_is_copied(make, binarizer, added, tmp_path):
    twin, ours = make(Float(), 1), make(binarizer, 2)
    begun = {key: value.clone() for key, value in ours.state_dict().items()}
    assert all(any(key.endswith(part) for key in begun.keys() - twin.state_dict().keys()) for part in added)
    inherit(ours, saved(twin, tmp_path / "float.ckpt"))
    # A layer behind an inserted norm has the name that it has in the twin, and `layer`.
    theirs = twin.state_dict()
    for key, value in ours.state_dict().items():
        copied = theirs.pop(key.replace(".layer.", "."), None)
        assert torch.equal(value, begun[key] if copied is None else copied), key
    assert not theirs


def test_a_networks_own_activation_must_be_in_the_file(tmp_path):
    file = saved(designed("resnet18-bireal", Float(), 1), tmp_path / "float.ckpt")
    with pytest.raises(UserError, match=r"unit1\.activation\.slope: file absent, network \(64,\)"):
        inherit(designed("resnet18-reactnet", XNOR(), 2), file)


def test_learned_scales_of_an_own_network_are_those_of_the_file(tmp_path):
    first, second = own(of_ours, TTQ(), 1), own(of_ours, TTQ(), 2)
    torch.nn.init.constant_(first.body[2].binarizer.plus, 0.125)
    inherit(second, saved(first, tmp_path / "ttq.ckpt"))
    assert second.body[2].binarizer.plus.item() == 0.125


def test_other_shapes_are_listed(tmp_path):
    saved(small(Float(), classes=7), tmp_path / "seven.ckpt")
    with pytest.raises(UserError) as refusal:
        inherit(small(XNOR()), tmp_path / "seven.ckpt")
    message = str(refusal.value)
    assert "does not fit alexnet-small (2 tensors differ)" in message
    assert "  fc8.linear.weight: file (7, 512), network (3, 512)" in message
    assert "  fc8.linear.bias: file (7,), network (3,)" in message


def test_another_network_is_listed_in_full(tmp_path):
    torch.save(torchvision.models.alexnet(weights=None, num_classes=3).state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(UserError, match=r"15 tensors differ\):\n  conv1.conv.weight: file \(64, 3, 11, 11\)"):
        inherit(small(XNOR()), tmp_path / "alexnet.pth")


def test_sixteen_tensors_are_listed_and_more_are_counted(tmp_path):
    state = torchvision.models.alexnet(weights=None, num_classes=3).state_dict()  # 15 of which differ
    for extra, more in ((1, None), (2, "and 1 more"), (5, "and 4 more")):
        torch.save({**state, **{f"more.{n}": torch.ones(n) for n in range(extra)}}, tmp_path / "other.pth")
        with pytest.raises(UserError) as refusal:
            inherit(small(XNOR()), tmp_path / "other.pth")
        first, *lines, _ = str(refusal.value).splitlines()
        assert f"({15 + extra} tensors differ)" in first
        assert len(lines) == (17 if more else 16)
        assert (lines[-1].strip() if more else None) == more
        assert "  more.0: file (0,), network absent" in lines


# --- on the command line --------------------------------------------------------------------------------------------
def fit(photos, root, *words):
    return main(
        [
            *("fit", "--model.network", "alexnet-small", "--data.source", str(photos), "--data.backend", "folder"),
            *("--data.batch_size", "8", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"),
            *("--run.root", str(root), "--run.wandb", "off", *words),
        ]
    )


def test_a_twin_is_binarised_measured_and_trained_further(photos, tmp_path, capsys):
    assert fit(photos, tmp_path, "--model.binarizer", "Float", "--run.arm", "float") == 0
    twin = tmp_path / "unnamed/pair-0/float/seed-0/checkpoints/last.ckpt"
    assert fit(photos, tmp_path, "--model.binarizer", "BWN", "--run.arm", "bwn", "--model.init_from", str(twin)) == 0
    told = capsys.readouterr().out
    folder = tmp_path / "unnamed/pair-0/bwn/seed-0"
    summary = json.loads((folder / "summary.json").read_text())
    top1, top5 = (f"{100 * summary['init'][key]:.2f} %" for key in ("top1", "top5"))
    assert f"[init]    {twin}: top-1 {top1}, top-5 {top5} before training" in told
    assert summary["init"]["from"] == str(twin)
    assert 0 <= summary["init"]["top1"] <= summary["init"]["top5"] <= 1
    run = read(folder)
    assert run.flat_config["model.init_from"] == str(twin)
    assert run.curves["init/top1"].value.tolist() == pytest.approx([summary["init"]["top1"]])


def test_an_arm_of_the_same_pair_is_named_by_its_name(photos, tmp_path, capsys):
    binary = ("--model.binarizer", "BWN", "--run.arm", "bwn", "--model.init_from", "float")
    assert fit(photos, tmp_path, *binary) == 2
    told = capsys.readouterr().err
    assert "model.init_from is the arm float of the same pair and seed" in told
    assert "Train it first" in told
    assert fit(photos, tmp_path, "--model.binarizer", "Float", "--run.arm", "float") == 0
    assert fit(photos, tmp_path, *binary) == 0
    twin = tmp_path / "unnamed/pair-0/float/seed-0/checkpoints/last.ckpt"
    assert read(tmp_path / "unnamed/pair-0/bwn/seed-0").flat_config["model.init_from"] == "float"
    assert f"[init]    {twin}: top-1 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no checkpoint"),
        (b"not a checkpoint", "is not a checkpoint of a training run"),
        ({"state_dict": torch.nn.Linear}, "code besides weights"),
        ({"epoch": 3}, "is not a checkpoint of a training run"),
    ],
)
def test_an_invalid_file_is_refused_before_anything_is_read(content, message, photos, tmp_path, capsys):
    file = tmp_path / "net.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        torch.save(content, file)
    assert fit(photos, tmp_path / "runs", "--model.binarizer", "XNOR", "--model.init_from", str(file)) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "[data]" not in out
    assert not (tmp_path / "runs").exists()


def test_other_shapes_are_listed_before_training_and_leave_no_run(photos, tmp_path, capsys):
    file = saved(small(Float(), classes=7), tmp_path / "seven.ckpt")
    assert fit(photos, tmp_path / "runs", "--model.binarizer", "XNOR", "--model.init_from", str(file)) == 2
    out, err = capsys.readouterr()
    assert "fc8.linear.weight: file (7, 512), network (3, 512)" in err
    assert "[epoch]" not in out
    assert not (tmp_path / "runs").exists()


def test_a_resumed_run_keeps_its_initial_measurement_and_does_not_restart(photos, tmp_path, capsys):
    file = saved(small(Float()), tmp_path / "float.ckpt")
    words = (
        "--model.binarizer",
        "BWN",
        "--run.arm",
        "bwn",
        "--model.init_from",
        str(file),
        "--trainer.max_epochs",
        "2",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xnorlit.training.saving.Saving.on_train_batch_start", _stop_in_the_second_epoch)
        assert fit(photos, tmp_path, *words) == 130
    first = capsys.readouterr().out
    assert "before training" in first
    file.unlink()
    assert fit(photos, tmp_path, *words, "--run.resume", "true") == 0
    assert "before training" not in capsys.readouterr().out
    summary = json.loads((tmp_path / "unnamed/pair-0/bwn/seed-0/summary.json").read_text())
    assert summary["init"]["from"] == str(file)


def _stop_in_the_second_epoch(_, trainer, *__):
    if trainer.current_epoch == 1:
        raise KeyboardInterrupt
