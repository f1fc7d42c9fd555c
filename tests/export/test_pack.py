"""What `pack` takes, unwraps, warns of and explains."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

import xnorlit as xl
from tests.packed import tiny
from xnorlit.edge.fields import FieldError
from xnorlit.errors import UserError
from xnorlit.export import pack as room
from xnorlit.export.pack import AT_ONCE, _range, _read, _ready, _unwrapped, pack
from xnorlit.export.trace import traced
from xnorlit.packed.document import check
from xnorlit.packed.graph import AveragePool
from xnorlit.packed.layer import LARGEST_SIDE
from xnorlit.packed.origin import Source

OPTIONS = {"image_size": 6, "classes": ["a", "b"], "mean": (128,) * 3, "std": (64,) * 3}


def chain():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


# --- wrappers and copies ----------------------------------------------------------------------------------------------
def test_wrappers_are_taken_off_in_any_order():
    inner, lazy = chain(), nn.Module()
    lazy.add_module("_orig_mod", nn.DataParallel(inner))  # as torch.compile keeps it
    assert _unwrapped(lazy) is inner
    assert _unwrapped(nn.DataParallel(lazy)) is inner
    assert _unwrapped(inner) is inner
    assert isinstance(_unwrapped(AveragedModel(inner)), nn.Sequential)


def test_the_traced_network_is_a_copy_in_evaluation_mode_and_fp32():
    given = chain().double().train()
    found = _ready(given)
    assert not any(part.training for part in found.modules())
    assert given.training
    assert {values.dtype for values in found.parameters()} == {torch.float32}
    assert {values.dtype for values in given.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda net: net.append(nn.LazyLinear(2)),
            "4 cannot be packed: LazyLinear has no weights yet; call the network",
        ),
        (
            lambda net: net[3].to("meta"),
            "3 cannot be packed: Linear is on the meta device and has no values; load its w",
        ),
        (lambda net: net.append(nn.BatchNorm1d(2, device="meta")), "4 cannot be packed: BatchNorm1d is on the meta"),
        (
            lambda net: net.append(torch.jit.script(nn.ReLU())),
            "4 cannot be packed: RecursiveScriptModule is TorchScript",
        ),
        (lambda net: net.register_forward_hook(print), "Sequential cannot be packed: Sequential has a forward hook, w"),
        (
            lambda net: net[0].register_forward_pre_hook(print),
            "0 cannot be packed: Conv2d has a forward hook, which may",
        ),
        (lambda net: net.append(torch.ao.nn.quantized.ReLU6()), "4 cannot be packed: ReLU6 is quantised by PyTorch; g"),
    ],
)
def test_modules_without_plain_values_are_refused(change, message):
    net = chain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about TorchScript
        change(net)
    with pytest.raises(UserError, match=f"^{message}"):
        _ready(net)


class _Keeping(nn.Module):
    def __init__(self, kept):
        super().__init__()
        self.conv, self.kept = nn.Conv2d(3, 4, 3), kept
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        return self.kept(self, self.conv(x)).flatten(1)


def in_attribute(module, y):
    module.last = y
    return y


def in_list(module, y):
    module.seen = [0, {"y": y}]
    return y


def in_buffer(module, y):
    module.mean = y.mean()
    return y


@pytest.mark.parametrize(
    ("kept", "said"),
    [(in_attribute, r"last \(Tensor\)"), (in_list, r"seen \(list\)"), (in_buffer, r"mean \(Tensor\)")],
)
def test_a_value_that_a_forward_kept_with_its_gradient_is_refused_by_the_name_of_its_attribute(kept, said):
    net = nn.Sequential(_Keeping(kept), nn.Linear(144, 2))
    net(torch.ones(2, 3, 8, 8))
    message = rf"^0 cannot be packed: its attribute {said} has no copy \(Only Tensors .*; delete it first, or keep a"
    with pytest.raises(UserError, match=message):
        _ready(net)
    with pytest.raises(UserError, match=message.replace("0", "_Keeping", 1)):
        _ready(net[0])
    with torch.no_grad():
        net(torch.ones(2, 3, 8, 8))
    _ready(net)


def test_a_module_that_refuses_to_be_copied_is_refused_by_its_class():
    class Single(nn.Sequential):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of it")

    with pytest.raises(UserError, match=r"^Single cannot be packed: it has no copy \(there is one of it\)\. Give a"):
        _ready(Single(nn.Flatten()))


# --- what is checked --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("binary", [True, False])
def test_a_fault_of_the_file_is_told_by_the_name_of_its_layer(binary, monkeypatch):
    """The owner of the module does not know its layers by number."""
    net, key = chain(), "layers"
    if binary:
        net, key = nn.Sequential(xl.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), xl.Linear(64, 2)), "nodes"
    names = [node.name for node in pack(net, **OPTIONS).graph.steps]

    def wrong(graph, tensors):
        raise FieldError(f"{key}[0].weight and {key}[1].weight: odd")

    monkeypatch.setattr(room, "check", wrong)
    with pytest.raises(
        UserError, match=rf"^Sequential cannot be packed: {names[0]}\.weight and {names[1]}\.weight: odd\. C"
    ):
        pack(net, **OPTIONS)


class Between(nn.Module):
    """A graph whose map, `(4, 6, 6)`, passes through a function or a module of the test."""

    def __init__(self, between):
        super().__init__()
        self.stem, self.between = xl.Conv2d(3, 4, 1), between
        with torch.no_grad():
            self.last = xl.Linear(between(torch.zeros(1, 4, 6, 6)).numel(), 2)

    def forward(self, x):
        return self.last(torch.flatten(self.between(self.stem(x)), 1))


def in_chain(*between):
    """A chain whose map, `(4, 6, 6)`, passes through modules of the test."""
    body = nn.Sequential(nn.Conv2d(3, 4, 1), *between, nn.Flatten())
    with torch.no_grad():
        return body.append(nn.Linear(body(torch.zeros(1, 3, 6, 6)).numel(), 2))


@pytest.mark.parametrize("of", [in_chain, Between])
@pytest.mark.parametrize(
    ("between", "fault"),
    [
        (nn.Conv2d(4, 4, 3, 5000), "a stride of 5000"),
        (nn.Conv2d(4, 4, 3, (1, 4097)), "a stride of 4097"),
        (nn.Conv2d(4, 4, (1, 4097), 1, (0, 2048), groups=4), "a kernel of 4097"),
        (xl.BinaryConv2d(4, 4, 3, 5000, binarizer="XNOR"), "a stride of 5000"),
        (nn.MaxPool2d(2, 5000), "a stride of 5000"),
        (nn.AvgPool2d(2, 5000), "a stride of 5000"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else "",
)
def test_a_size_beyond_the_format_is_refused_by_the_name_of_its_layer(between, fault, of):
    network = of(between)
    name = next(name for name, module in network.named_modules() if module is between)
    kept_by = "0" if of is in_chain and isinstance(between, nn.MaxPool2d) else name  # a chain's pool is its layer's
    place = rf" \({__file__}:\d+\)" if of is Between else ""
    with pytest.raises(UserError, match=rf"^{kept_by} cannot .* {fault}{place}, where .* 4096 pixels; use a smaller "):
        pack(network, **OPTIONS)


def test_a_slice_beyond_the_format_is_refused_by_its_line():
    line = test_a_slice_beyond_the_format_is_refused_by_its_line.__code__.co_firstlineno + 2
    network = Between(lambda x: x[:, :, ::5000, ::5000])
    with pytest.raises(
        UserError, match=rf"^getitem cannot .* a stride of 5000 \({__file__}:{line}\), where .* smaller"
    ):
        pack(network, **OPTIONS)


def test_the_largest_side_is_that_of_the_kernels():
    """So that what `pack` lets through, the file holds."""
    packed = pack(Between(nn.AvgPool2d(2, LARGEST_SIDE)), **OPTIONS)
    pool = next(i for i, node in enumerate(packed.graph.nodes) if isinstance(node.op, AveragePool))
    nodes = list(packed.graph.nodes)
    nodes[pool] = replace(nodes[pool], op=AveragePool(2, LARGEST_SIDE + 1))
    with pytest.raises(FieldError, match=f"expected a whole number of 1 to {LARGEST_SIDE}, found"):
        check(replace(packed.graph, nodes=tuple(nodes)), packed.tensors)


def steep():
    norm = xl.BatchNorm2d(4)
    norm.weight.data.fill_(1e38)
    norm.running_var.fill_(1e-10)
    return norm


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (
            lambda x: F.leaky_relu(x, 1e7),
            r"leaky_relu\.op\.below: .*found 1.*HERE\. Check the checkpoint, and the settings",
        ),
        (lambda x: torch.cat([x + i for i in range(65)], 1), r"cat\.inputs: .* 1 to 64.*HERE\. Join fewer values"),
        (
            nn.Conv2d(4, 4, 1023, 1023, 1022, groups=4),
            r"between\.op: a map of more than \d+ values for one imageHERE\. Give a smaller image_size, or use",
        ),
        (steep(), r"tensor 'between\.scale': holds a number that is not finite\. Check the checkpoint\."),
    ],
)
def test_a_fault_that_the_whole_file_shows_has_its_own_remedy(between, message):
    with pytest.raises(UserError, match=message.replace("HERE", rf" \({__file__}:\d+\)")):
        pack(Between(between), **OPTIONS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image_size": 4097}, r"image_size is 4097\. Expected .* of 1 to 4096"),
        ({"crop": 2}, r"crop is 2\. Expected a share"),
        ({"crop": True}, r"crop is True\. Expected a share"),
        ({"squash": "no"}, r"squash is 'no'\. Expected True or False"),
        ({"classes": ["a", 2]}, r"classes: 2 is not text\. Expected the name of each"),
        ({"mean": (1e7,) * 3}, "Expected the unit of the pixels, 0 to 255"),
        ({"std": (1e-7, 60, 60)}, "Expected the unit of the pixels, 0 to 255"),
        ({"source": Source("trained", commit="zz")}, r"source\.commit: expected .*\. Correct the source"),
    ],
)
def test_a_fault_of_an_argument_is_not_the_checkpoints(given, message):
    with pytest.raises(UserError, match=message) as caught:
        pack(chain(), **(OPTIONS | given))
    assert "checkpoint" not in str(caught.value)


def test_a_name_that_is_not_text_is_not_the_networks():
    net = chain()
    net.name = net.modules
    assert pack(net, **OPTIONS).graph.network == "Sequential"


@pytest.mark.parametrize("size", [1, 6])
def test_images_of_one_pixel_are_images(size):
    net = nn.Sequential(nn.Conv2d(3, 2, size), nn.Flatten())
    assert pack(net, **(OPTIONS | {"image_size": size})).graph.image_size == size
    for wrong in (0, -1, True, 2.0):
        with pytest.raises(UserError, match=f"image_size is {wrong}. Expected the side of the images in pixels"):
            pack(net, **(OPTIONS | {"image_size": wrong}))


@pytest.mark.parametrize("shape", [(2, 6, 6), (2, 6, 6, 1), (2, 3, 6, 6), (2, 5, 6, 3), (2, 6, 5, 3)])
def test_calibration_images_are_like_those_that_are_classified(shape):
    with pytest.raises(UserError, match=r"of uint8 of shape .*\. Expected uint8 images, \[N, 6, 6, 3\]\."):
        pack(chain(), **OPTIONS, ends="int8", calibration=np.zeros(shape, np.uint8))


# --- calibration ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, AT_ONCE, AT_ONCE + 1])
def test_a_layer_reads_every_calibration_image_once(count):
    trace = traced(chain().eval(), 6, (128,) * 3, (64,) * 3)
    images = tiny.images(count, 6)
    step = trace.steps[-1]
    parts = list(_read(trace, step.name, room.as_ours(step), images))
    assert [len(part) for part in parts] == [min(count, AT_ONCE)] + [1] * (count > AT_ONCE)
    found = torch.cat(parts)
    expected = trace.until(torch.from_numpy(images).permute(0, 3, 1, 2), step.name)
    torch.testing.assert_close(found, expected)
    assert _range(trace, step, images) == (float(expected.min()), float(expected.max()))
    for none in (None, images[:0]):
        with pytest.raises(UserError, match="3 needs calibration images to be packed in int8"):
            list(_read(trace, "3", room.as_ours(step), none))


# --- rounding ---------------------------------------------------------------------------------------------------------
def graph_of(norm, count):
    """A network with a shortcut whose signs depend on some norms."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = xl.Conv2d(3, 4, 3, padding=1)
            self.norms = nn.Sequential(*(norm(4) for _ in range(count)))
            self.few = xl.BinaryConv2d(4, 4, 3, padding=1, binarizer="XNOR")
            self.fc = xl.Linear(144, 2)

        def forward(self, x):
            x = self.norms(self.stem(x))
            return self.fc((x + self.few(x)).flatten(1))

    return Net().eval()


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_norms_that_round_as_torchs_kernels_are_named_up_to_three(count):
    more = {4: " and 1 more", 5: " and 2 more"}.get(count, "")
    names = ", ".join(f"norms.{i}" for i in range(min(count, 3)))
    with pytest.warns(
        UserWarning, match=rf"^pack: {names}{more} round in an order of their own\..*one image of fifty"
    ) as told:
        pack(graph_of(nn.BatchNorm2d, count), **OPTIONS)
    assert told[0].filename == __file__, "where the user calls it"


def test_few_bit_weights_of_reals_are_named_because_the_engine_sums_in_fp32():
    net = graph_of(xl.BatchNorm2d, 1)
    net.stem = xl.BinaryConv2d(3, 4, 3, padding=1, binarizer=xl.WeightsOnly(xl.BNN()))
    net.stem.rounds_once = True
    with pytest.warns(UserWarning, match=r"^pack: stem round in an order of their own\..*Use xl\.Conv2d"):
        pack(net.eval(), **OPTIONS)


def test_steady_norms_and_networks_without_signs_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack(graph_of(xl.BatchNorm2d, 1), **OPTIONS)
        net = graph_of(nn.BatchNorm2d, 1)
        net.few.bind(xl.Float())
        pack(net, **OPTIONS)
