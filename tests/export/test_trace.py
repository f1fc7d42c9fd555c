"""A module that is a chain of known operations packs to its own evaluation; others are refused by name."""

import copy
import inspect
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

import xnorlit as xl
from tests.packed.networks import integers_of_engine, integers_of_module, settle, turns, unsettle
from tests.processes import status_of
from xnorlit.binarize.reactnet import ReActNet
from xnorlit.errors import UserError
from xnorlit.export.pack import pack
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLinear
from xnorlit.models.builder import Normalize
from xnorlit.packed import PackedNetwork, load

# With these normalised pixels are multiples of 1/64, whose float convolution is exact in any order of summation.
MEAN, STD = (128, 128, 128), (64, 64, 64)
SIDE, CLASSES = 18, ["ant", "bee", "cat", "dog", "elk"]
OPTIONS = {"image_size": SIDE, "classes": CLASSES, "mean": MEAN, "std": STD}


def pixels_for(count=6, seed=0, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def normalised(pixels):
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 128) / 64


def held(model, **options):
    """Pack a module, and compare the integers of its binary layers and its logits with its evaluation."""
    images = normalised(pixels_for())
    packed = pack(model, **(OPTIONS | options))
    expected, logits = integers_of_module(model.eval(), images)
    found = integers_of_engine(*packed, pixels_for(), threads=2)
    assert found.keys() == expected.keys()
    for name, turn in turns(model, *packed).items():
        np.testing.assert_array_equal(found[name] * turn, expected[name], err_msg=name)
    most = max(1, float(np.abs(logits).max()))  # a logit may be a small difference of large terms
    np.testing.assert_allclose(PackedNetwork(*packed)(pixels_for()), logits, rtol=1e-4, atol=1e-4 * most)
    return packed


def unkind(model, seed=0):
    """Weights and statistics with which the first layer is exact."""
    torch.manual_seed(seed)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d | BinaryConv2d))
    first.weight.data = torch.randint(-8, 9, first.weight.shape) / 16
    if first.bias is not None:
        first.bias.data = torch.randint(-8, 9, first.bias.shape) / 16
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            unsettle(module)
    settle(model.eval(), normalised(pixels_for(16, 1)))
    return model


# --- what packs -------------------------------------------------------------------------------------------------------
class Functional(nn.Module):
    """Layers as modules, everything else as functions, as in many scripts."""

    def __init__(self, flatten="flatten"):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, (5, 3), stride=(1, 2), padding=(2, 1))
        self.norm1 = nn.BatchNorm2d(12)
        self.conv2 = BinaryConv2d(12, 20, 3, padding="same", binarizer="XNOR")
        self.norm2 = BatchNorm2d(20)
        self.fc1 = BinaryLinear(160, 30, binarizer="XNOR", bias=False)
        self.fc2 = nn.Linear(30, 5)
        self.flatten = flatten

    def forward(self, x, pooled=True, *, more=None):
        x = F.max_pool2d(F.relu(self.conv1(x)), kernel_size=3, stride=2)
        x = F.hardtanh(self.conv2(self.norm1(x)), -20.0, 20.0)
        x = F.max_pool2d(F.leaky_relu(x, 0.1), (2, 2)).contiguous() if pooled else x
        x = F.adaptive_avg_pool2d(self.norm2(x).clamp(-3, 3), (4, 2) if more is None else more)
        x = {
            "flatten": lambda: torch.flatten(x, 1),
            "size": lambda: x.view(x.size(0), -1),
            "shape": lambda: x.reshape(x.shape[0], -1),
            "minus one": lambda: x.view(-1, 160),
        }[self.flatten]()
        x = F.dropout(x, 0.5, training=self.training)
        return self.fc2(torch.relu(self.fc1(x)))


@pytest.mark.parametrize("flatten", ["flatten", "size", "shape", "minus one"])
def test_functions_are_the_modules_that_do_the_same(flatten):
    held(unkind(Functional(flatten)))


def test_torchvisions_alexnet_with_binary_layers_packs():
    """With a narrow classifier, to save time: it holds nine tenths of the weights. README's example packs all."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = torchvision.models.alexnet(num_classes=5)
    for part in (model.features, model.classifier):
        for i, module in enumerate(part):
            if isinstance(module, nn.Conv2d):
                given = module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding
                few = nn.Sequential(BatchNorm2d(given[0]), BinaryConv2d(*given, binarizer="XNOR"))
                part[i] = few if i else nn.Conv2d(*given)
            elif isinstance(module, nn.Linear):
                size = [{4096: 64}.get(features, features) for features in (module.in_features, module.out_features)]
                few = nn.Sequential(BatchNorm1d(size[0]), BinaryLinear(*size, binarizer="XNOR"))
                part[i] = few if module.out_features > 5 else nn.Linear(*size)
    model.features[0].weight.data = torch.randint(-8, 9, model.features[0].weight.shape) / 16
    model.features[0].bias.data.zero_()
    packed = pack(model, image_size=224, classes=CLASSES, mean=MEAN, std=STD)
    assert [layer.name for layer in packed.graph.layers][:2] == ["features.0", "features.3.1"]
    assert packed.weight.layers == 6
    pixels = pixels_for(2, side=224)
    with torch.no_grad():
        expected, logits = integers_of_module(model.eval(), normalised(pixels))
    found = integers_of_engine(*packed, pixels, threads=2)
    for name, integers in expected.items():
        np.testing.assert_array_equal(found[name], integers, err_msg=name)
    np.testing.assert_allclose(PackedNetwork(*packed)(pixels), logits, rtol=1e-3, atol=1e-4)


@st.composite
def chains(draw):
    """A random network of binary layers, with everything that may be between two of them."""

    def between(channels, side):
        for _ in range(draw(st.integers(0, 2))):
            kind = draw(st.sampled_from(["norm", "steady", "relu", "prelu", "leaky", "hardtanh", "relu6", "dropout"]))
            slope = draw(st.sampled_from([0.0, 0.25, 1.5]))
            yield {
                "norm": lambda: (nn.BatchNorm2d if side else nn.BatchNorm1d)(channels),
                "steady": lambda: (BatchNorm2d if side else BatchNorm1d)(channels),
                "relu": lambda: nn.ReLU(inplace=draw(st.booleans())),
                "prelu": lambda slope=slope: nn.PReLU(channels, init=slope),
                "leaky": lambda slope=slope: nn.LeakyReLU(slope),
                "hardtanh": lambda: nn.Hardtanh(-2.0, 3.0),
                "relu6": nn.ReLU6,
                "dropout": nn.Dropout,
            }[kind]()

    def window(side):
        kernel = draw(st.tuples(*[st.sampled_from([k for k in (1, 2, 3, 5) if k <= side])] * 2))
        stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        return kernel, stride, tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)

    def conv(kind, inputs, side, outputs, **more):
        kernel, stride, padding = window(min(side))
        sides = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(side, kernel, stride, padding, strict=True)]
        return kind(inputs, outputs, kernel, stride, padding, bias=draw(st.booleans()), **more), tuple(sides)

    names = ["XNOR", "DoReFa", "BNN", "IRNet", "HWGQ", "BinaryDuo"]
    binarizers = st.sampled_from([*names, ReActNet(shortcut=False)])  # which puts an RPReLU behind its layer
    channels, side = draw(st.sampled_from([6, 33])), (SIDE, SIDE)
    torch.manual_seed(0)
    first, side = conv(nn.Conv2d, 3, side, channels, groups=draw(st.sampled_from([1, 3])))
    modules = [first]
    for _ in range(draw(st.integers(0, 2))):
        modules += between(channels, side)
        if min(side) > 2 and draw(st.booleans()):
            size, padding = draw(st.sampled_from([2, (2, 2), 3])), draw(st.integers(0, 1))
            pool = nn.MaxPool2d(size, draw(st.sampled_from([None, 1, 2])), padding)
            extent = 3 if size == 3 else 2
            step = pool.stride if isinstance(pool.stride, int) else extent
            side = tuple((s + 2 * padding - extent) // step + 1 for s in side)
            modules += [pool, *between(channels, side)]
        outputs = draw(st.sampled_from([5, 40]))
        layer, side = conv(BinaryConv2d, channels, side, outputs, binarizer=draw(binarizers))
        modules, channels = [*modules, layer], outputs
    modules += [*between(channels, side), nn.Flatten()]
    features = channels * side[0] * side[1]
    modules += [*between(features, None), BinaryLinear(features, 20, binarizer=draw(binarizers))]
    modules += [*between(20, None), nn.Linear(20, 5)]
    return unkind(nn.Sequential(*modules), seed=draw(st.integers(0, 9)))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(chains())
def test_the_integers_of_any_chain_are_its_evaluations(model):
    held(model)


def test_the_users_mode_weights_and_random_state_stay_unchanged():
    model = Functional().train()
    model.norm1.eval()
    before, numbers = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    pack(model, **OPTIONS)
    assert model.training
    assert not model.norm1.training
    assert all(torch.equal(before[key], values) for key, values in model.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())


def chain(*more, normalize=()):
    """A small network with some modules behind its binary layer."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR")
    return nn.Sequential(*normalize, *layers, *more, nn.MaxPool2d(6), nn.Flatten(), nn.Linear(72, 5))


class Twice(nn.Module):
    """A network that calls one of its layers twice."""

    def __init__(self, kind):
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), nn.ReLU()
        self.layer = {
            "binary": lambda: BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR"),
            "real": lambda: nn.Conv2d(8, 8, 3, padding=1),
            "none": nn.Identity,
        }[kind]()
        self.fc = nn.Linear(72, 5)

    def forward(self, x):
        x = self.relu(self.layer(self.norm(self.relu(self.stem(x)))))
        x = self.relu(self.layer(self.norm(x)))
        return self.fc(nn.functional.max_pool2d(x, 6).flatten(1))


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_a_layer_that_is_called_twice_is_refused_by_its_name_and_the_line_of_the_second_call(kind):
    line = inspect.getsourcelines(Twice.forward)[1] + 2
    told = rf"layer cannot be packed: it is called a second time \(.*test_trace.py:{line}\).*; make a layer for each"
    with pytest.raises(UserError, match=told):
        pack(Twice(kind).eval(), **OPTIONS)


def test_modules_without_sums_may_be_called_twice():
    model = unkind(Twice("none"))
    packed = pack(model, **OPTIONS)
    with torch.no_grad():
        logits = model(normalised(pixels_for())).numpy()
    np.testing.assert_allclose(PackedNetwork(*packed)(pixels_for()), logits, rtol=1e-4, atol=1e-4)


def test_a_network_that_normalises_by_itself_needs_no_mean_and_takes_none():
    inside, outside = chain(normalize=[Normalize([128] * 3, [64] * 3)]), chain()
    own = {key: value for key, value in OPTIONS.items() if key not in ("mean", "std")}
    found, expected = pack(inside, **own), pack(outside, **OPTIONS)
    assert (found.graph.mean, found.graph.std) == (expected.graph.mean, expected.graph.std)
    np.testing.assert_array_equal(PackedNetwork(*found)(pixels_for()), PackedNetwork(*expected)(pixels_for()))
    with pytest.raises(UserError, match="the network itself normalises the pixels"):
        pack(inside, **OPTIONS)


def test_ends_in_int8_calibrate_on_normalised_images():
    model = unkind(chain(nn.ReLU()))
    rounded = pack(model, **OPTIONS, ends="int8", calibration=pixels_for(16))
    exact = pack(model, **OPTIONS)
    assert rounded.bytes < exact.bytes
    logits, expected = (PackedNetwork(*packed)(pixels_for()) for packed in (rounded, exact))
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


def test_torchs_own_norm_folds_constant_channels_as_it_evaluates_them():
    model = chain(nn.BatchNorm2d(8), nn.ReLU())
    unkind(model)
    model[3].running_var[:4] = 1e-30
    model[3].running_mean[:4] = 3e-17
    held(model)


def test_compiled_and_data_parallel_modules_act_as_the_module_that_they_wrap():
    plain, expected = chain(), pack(chain(), **OPTIONS)
    for wrapped in (torch.compile(plain), nn.DataParallel(torch.compile(plain)), AveragedModel(plain)):
        assert pack(wrapped, **OPTIONS).content == expected.content


def test_the_file_is_written_and_runs_where_torch_cannot_be_imported(tmp_path):
    model, file = unkind(chain()), tmp_path / "new" / "folder" / "net.safetensors"
    packed = pack(model, file, **OPTIONS)
    assert file.stat().st_size == packed.bytes
    assert load(file).classes == tuple(CLASSES)
    np.save(tmp_path / "pixels.npy", pixels_for())
    script = textwrap.dedent(f"""
        import sys
        sys.modules["torch"] = None
        import numpy as np
        import xnorlit as xl
        packed = xl.load({str(file)!r})
        np.save({str(tmp_path / "logits.npy")!r}, packed(np.load({str(tmp_path / "pixels.npy")!r})))
        print(packed.classes, packed.predict(np.load({str(tmp_path / "pixels.npy")!r})).tolist())
    """)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with torch.no_grad():
        logits = model(normalised(pixels_for()))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits.numpy(), rtol=1e-4, atol=1e-4)
    assert ran.stdout.strip() == f"{tuple(CLASSES)} {logits.argmax(dim=1).tolist()}"


def test_packing_does_not_import_torchs_compiler():
    """Its import takes longer than packing does."""

    def work():
        for name in ("_dynamo", "_inductor"):
            vars(torch).pop(name, None)
            sys.modules[f"torch.{name}"] = None
        pack(chain(), **OPTIONS)

    assert status_of(work) == 0


def test_a_packed_network_prints_its_size_and_that_of_its_binary_layers():
    packed = pack(chain(), **OPTIONS)
    assert f"{packed.bytes / 2**20:.3g} MiB; its 1 binary layer" in str(packed)
    assert repr(packed).startswith("<Packed Sequential: ")
    floats = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(512, 5))
    assert "no layer of few-bit weights" in str(pack(floats, **OPTIONS))


# --- what is refused --------------------------------------------------------------------------------------------------
class Refused(nn.Module):
    """A network whose forward ends with a function from the test."""

    def __init__(self, behind, *, bare=False):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2 = BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR")
        self.fc = nn.Identity() if bare else nn.Linear(2592, 5)
        self.behind = behind
        self.register_buffer("shift", torch.ones(8, 1, 1))

    def forward(self, x):
        x = self.norm(self.conv1(x))
        y = self.behind(self, x, self.conv2(x))
        return self.fc(torch.flatten(y, 1))


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (lambda m, x, y: torch.sigmoid(y), "sigmoid cannot be packed: it HERE has no packed form; use nn.ReLU"),
        (lambda m, x, y: (y + x) * (y - x), "sub cannot be packed: it HERE has no packed form with these arguments"),
        (lambda m, x, y: y * x, "mul cannot be packed: it HERE has no packed form with .*; leave scales to the layers"),
        (lambda m, x, y: y[:, :4], "getitem cannot be packed: it HERE has no .*; slice by a stride alone"),
        (lambda m, x, y: y.chunk(2, 1)[0], "chunk cannot be packed: it HERE has no packed form; slice by a stride"),
        (lambda m, x, y: torch.cat([x, y], 2), "cat cannot be packed: it HERE has no packed form with .*combine whole"),
        (lambda m, x, y: y * m.shift.expand(8, 18, 1), "mul cannot be packed: it HERE reads .*, which no layer"),
        (lambda m, x, y: F.pad(y, (1, 1, 1, 1)), "pad cannot be packed: it HERE has no .*; pad channels with zeros"),
        (lambda m, x, y: F.avg_pool2d(y, (3, 1)), "avg_pool2d cannot be packed: it HERE .*; use a square average pool"),
        (lambda m, x, y: F.adaptive_avg_pool2d(y, 5), "adaptive_avg_pool2d cannot .*18 x 18 to 5 x 5 HERE"),
        (lambda m, x, y: F.interpolate(y, 36), "interpolate cannot be packed: it HERE has no packed form; leave it"),
        (lambda m, x, y: y.max(1, keepdim=True)[0], "max_1 cannot be packed: max HERE has no packed form"),
        (lambda m, x, y: y.clamp(1.0, 1.0), "clamp cannot be packed: it HERE has no packed form with .*; use nn.ReLU"),
        (lambda m, x, y: F.dropout(y), "dropout cannot be packed: it HERE .* drop only in training"),
        (lambda m, x, y: y.permute(0, 2, 3, 1), "permute cannot be packed: it HERE has no .*flatten the whole map"),
        (lambda m, x, y: y if y.sum() > 0 else -y, "Refused cannot be packed: its forward cannot be traced HERE"),
        (lambda m, x, y: y[: int(y.max())], "Refused cannot be packed: its forward cannot be traced HERE"),
        (
            lambda m, x, y: F.conv2d(y, m.conv2.weight, padding=1),
            "conv2d cannot be packed: it HERE reads conv2",
        ),
    ],
)
def test_a_function_without_a_packed_form_is_refused_by_its_line(behind, message):
    line = behind.__code__.co_firstlineno
    with pytest.raises(UserError, match=message.replace("HERE", rf"\({__file__}:{line}\)")):
        pack(Refused(behind, bare=True), **OPTIONS)


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (lambda m, x, y: torch.sigmoid(y), r"1\.0\.sigmoid cannot be packed: it HERE has no packed form; use"),
        (lambda m, x, y: y.max(1, keepdim=True)[0], r"1\.0\.max cannot be packed: it HERE has no packed form"),
        (lambda m, x, y: F.adaptive_avg_pool2d(y, 5), r"1\.0\.adaptive_avg_pool2d cannot .*18 x 18 to 5 x 5 HERE"),
        (lambda m, x, y: x + y[..., 1:], r"1\.0\.add cannot be packed: an image of 18 .*through it HERE \("),
    ],
)
def test_a_function_is_refused_by_the_submodule_that_calls_it(behind, message):
    line, inner = behind.__code__.co_firstlineno, Refused(behind, bare=True)
    with pytest.raises(UserError, match="^" + message.replace("HERE", rf"\({__file__}:{line}\)")):
        pack(nn.Sequential(nn.Identity(), nn.Sequential(inner)), **OPTIONS)


def test_a_pool_that_returns_its_indices_too_is_refused_by_its_line():
    def behind(m, x, y):
        y, _ = m.pool(y)
        return y

    model, line = Refused(behind, bare=True), behind.__code__.co_firstlineno + 1
    model.pool = nn.MaxPool2d(2, return_indices=True)
    said = rf"^pool cannot be packed: MaxPool2d \({__file__}:{line}\) does not return one tensor; .* return_indices"
    with pytest.raises(UserError, match=said):
        pack(model, **OPTIONS)


def test_an_image_that_a_network_of_the_package_does_not_take_is_refused_by_its_unit():
    net = xl.create("resnet20-recu", binarizer="BiReal", classes=5).eval()
    with pytest.raises(UserError, match=r"^unit7\.add cannot be packed: an image of 33 x 33 .* Give the image_size"):
        pack(net, image_size=33, classes=CLASSES)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sigmoid(), "3 cannot be packed: Sigmoid has no packed form; use nn.ReLU"),
        (nn.GroupNorm(2, 8), "3 cannot be packed: GroupNorm has no packed form; use nn.BatchNorm2d"),
        (nn.BatchNorm2d(8, track_running_stats=False), "3 cannot be packed: BatchNorm2d has no running statistics"),
        (nn.AvgPool2d((1, 3), 1, (0, 1)), "3 cannot be packed: its average pool .* is not square"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "3 cannot be packed: its average pool .* is not square"),
        (nn.LocalResponseNorm(5), "3 cannot be packed: LocalResponseNorm has no packed form; use nn.BatchNorm2d"),
        (nn.Upsample(18), "3 cannot be packed: Upsample has no packed form; leave it out"),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2), r"3 cannot be packed: dilation is \(2, 2\); use 1"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), "3 cannot be packed: padding_mode is 'reflect'"),
        (nn.Conv2d(8, 8, 2, padding="same"), "3 cannot be packed: padding 'same' is uneven for its kernel"),
        (BinaryConv2d(8, 8, 2, padding="same", binarizer="XNOR"), "3 cannot be packed: padding 'same' is uneven"),
        (nn.MaxPool2d((3, 1), 1, (1, 0)), "3 cannot be packed: its max pool .* is not square"),
        (nn.MaxPool2d(3, 1, 2 - 1, ceil_mode=True), "3 cannot be packed: its max pool .* is not square"),
        (Normalize([1] * 3, [2] * 3), "3 cannot be packed"),
        (nn.LazyBatchNorm2d(), "3 cannot be packed: LazyBatchNorm2d has no weights yet; call the network once"),
        (torch.ao.nn.quantized.ReLU6(), "3 cannot be packed: ReLU6 is quantised by PyTorch; give the float module"),
        (nn.Linear(18, 18), "3 cannot be packed: it reads a map of shape .*; flatten it"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else "",
)
def test_a_module_without_a_packed_form_is_refused_by_its_name(module, message):
    with pytest.raises(UserError, match=message):
        pack(chain(module), **OPTIONS)


def test_logits_that_do_not_come_from_the_images_are_refused():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.ones(3, 5))

        def forward(self, x):
            return self.logits

    with pytest.raises(UserError, match="logits cannot be packed"):
        pack(Constant(), **OPTIONS)


class _Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class _DoubledBinary(BinaryConv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (_Doubled(3, 8, 3, padding=1), "conv2d cannot be packed: .* reads conv1.weight and conv1.bias"),
        (_DoubledBinary(3, 8, 3, padding=1, binarizer="XNOR"), "conv1 cannot be packed: .* has its own forward"),
    ],
)
def test_a_layer_with_its_own_forward_does_not_count_as_its_base_class(layer, message):
    model = Refused(lambda m, x, y: y)
    model.conv1 = layer
    with pytest.raises(UserError, match=message):
        pack(model, **OPTIONS)


def test_hooks_are_refused_because_they_may_change_values():
    for hook in ("register_forward_hook", "register_forward_pre_hook"):
        model = chain()
        handle = getattr(model[1], hook)(lambda *_: None)
        with pytest.raises(UserError, match="1 cannot be packed: BatchNorm2d has a forward hook"):
            pack(model, **OPTIONS)
        handle.remove()
        pack(model, **OPTIONS)


def test_comparing_logits_finds_what_a_trace_misses():
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, _, y: y + 1 if isinstance(module, nn.Sequential) else None
    )
    try:
        with pytest.raises(UserError, match="its forward gives other logits than the modules that it calls"):
            pack(chain(), **OPTIONS)
    finally:
        hook.remove()


class _Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = chain()

    def forward(self, images, mask):
        return self.net(images)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (chain(), {"image_size": 64}, "5 cannot be packed: an image of 64 x 64 .*image_size that"),
        (chain(), {"image_size": 3}, "an image of 3 x 3 pixels and 3 channels does not get through it"),
        (chain(), {"image_size": "18"}, "image_size is '18'. Expected the side"),
        (chain(), {"image_size": 0}, "image_size is 0. Expected the side"),
        (chain(), {"mean": None}, "mean is None. Expected three numbers"),
        (chain(), {"std": None}, "std is None. Expected three numbers"),
        (chain(), {"mean": 5}, "mean is 5. Expected three numbers"),
        (chain(), {"mean": "abc"}, "mean is abc. Expected three numbers"),
        (chain(), {"std": (-1, 60, 60)}, "std above 0"),
        (chain(), {"std": (1, 2)}, r"std is \(1, 2\). Expected three numbers"),
        (chain(), {"mean": (1, 2, float("nan"))}, "mean is .*nan.*. Expected three numbers"),
        (chain(), {"std": (0, 1, 1)}, "std above 0"),
        (chain(), {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, "multiply .* by 255"),
        (chain(), {"classes": ["a", "b"]}, "classes: 2 names for 5 outputs"),
        (chain(), {"classes": "abcde"}, "classes: 'abcde' for 5 outputs"),
        (chain(), {"classes": 5}, "classes: 5 for 5 outputs of the network. Expected a list"),
        (chain(), {"ends": "int9"}, r"ends is 'int9'\. Expected 'float' or 'int8'\. Did you mean int8"),
        (chain(), {"source": "me"}, r"source is 'me'\. Expected"),
        (chain(), {"ends": "int8", "calibration": np.zeros((2, 9, 9, 3), np.uint8)}, r"Expected uint8 images, \[N, 18"),
        (chain(), {"ends": "int8", "calibration": np.zeros((2, 18, 18, 3))}, r"an array of float64 of shape"),
        (
            nn.Sequential(nn.Conv2d(3, 5, 3)),
            {},
            r"it returns a tensor of shape \(3, 5, 16, 16\). Expected one tensor of logits",
        ),
        (nn.Sequential(nn.Conv2d(1, 5, 3)), {}, "0 cannot be packed: an image of 18 x 18 pixels and 3 channels"),
        (
            nn.Sequential(nn.Flatten()),
            {"classes": list(map(str, range(972)))},
            "it has no convolution and no linear layer",
        ),
        (_Asks(), {}, "_Asks cannot be packed: its forward takes mask besides the images"),
        (chain().state_dict(), {}, "pack: the model is OrderedDict. Expected an nn.Module."),
    ],
)
def test_wrong_settings_are_refused_with_a_message(model, options, message):
    with pytest.raises(UserError, match=message):
        pack(model, **(OPTIONS | options))


def test_weights_that_are_not_finite_are_refused_by_name():
    model = chain()
    model[0].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="0 cannot be packed: weight of its Conv2d is not finite"):
        pack(model, **OPTIONS)


def test_a_network_without_values_is_refused():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(2048, 5))
    with pytest.raises(UserError, match="0 cannot be packed: Conv2d is on the meta device"):
        pack(model, **OPTIONS)
