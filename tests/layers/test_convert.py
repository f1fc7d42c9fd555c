"""`binarize_`: weights stay, no sign is dead, the table lists the changes, and impossible cases are refused."""

import copy
import pickle
from collections import OrderedDict
from itertools import product

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import xnorlit as xl
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.latent_free import LatentFree
from xnorlit.binarize.reactnet import ReActNet, RPReLU
from xnorlit.binarize.xnor import XNOR
from xnorlit.binarize.xnorplusplus import XNORPlusPlus
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, BinaryLinear, attach
from xnorlit.layers.convert import binarize_
from xnorlit.layers.pinned import AdaptiveAvgPool2d, Conv2d, Linear


def dead_signs(net, x):
    """Names of the binary layers that ran, and of those whose inputs all have one sign, in either mode."""
    ran, dead = set(), set()

    def look(name):
        def hook(_, inputs):
            ran.add(name)
            if inputs[0].min() >= 0 or inputs[0].max() < 0:
                dead.add(name)

        return hook

    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, BinaryLayer)]
    handles = [module.register_forward_pre_hook(look(name)) for name, module in layers]
    with torch.no_grad():
        for mode in (True, False):
            net.train(mode)(x)
    for handle in handles:
        handle.remove()
    return ran, dead


def shares(net, x):
    """The share of +1 among the input signs of each binary layer, in training."""
    found = {}

    def look(name):
        def hook(layer, inputs):
            found[name] = (layer.binarizer.input_codes(inputs[0]).values > 0).float().mean().item()

        return hook

    for name, module in net.named_modules():
        if isinstance(module, BinaryLayer):
            module.register_forward_pre_hook(look(name))
    with torch.no_grad():
        net.train()(x)
    return found


def chain(*between, norm=True):
    """A real convolution, some modules, and a convolution to convert."""
    norms = [nn.BatchNorm2d(8)] if norm else []
    return nn.Sequential(nn.Conv2d(3, 8, 3), *norms, *between, nn.Conv2d(8, 8, 3))


class Functional(nn.Module):
    """ReLUs as a function, a method and in place; a shortcut; an argument with a default."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x, scale=None):
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(x)).relu()
        if scale is not None:
            y = y * scale
        x = torch.relu(x + self.norm3(self.conv3(y)))
        return self.fc(x.mean((2, 3)))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = chain(nn.ReLU())
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = self.features(x)
        return self.fc(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


# name: (layers to skip, number of binary layers, other arguments)
TORCHVISION = {
    "resnet18": (["conv1", "fc", "*.downsample"], 16, {}),
    "resnet50": (["conv1", "fc"], 52, {}),
    "alexnet": (["features.0", "classifier.6"], 6, {"norm": "missing"}),
    "vgg11_bn": (["features.0", "classifier.6"], 9, {}),
    "densenet121": (["features.conv0", "classifier"], 119, {}),
    "mobilenet_v2": (["features.0", "classifier"], 51, {"activation": "hardtanh"}),
}


@pytest.mark.parametrize("name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in [*TORCHVISION][1:])])
def test_no_sign_of_torchvisions_networks_is_dead_and_each_weight_stays(name):
    torch.manual_seed(0)
    skip, count, settings = TORCHVISION[name]
    net = getattr(torchvision.models, name)(num_classes=10)
    weights = dict(net.named_parameters())
    table = binarize_(net, XNOR, skip=skip, **settings)
    kept = {id(parameter) for parameter in net.parameters()}
    assert all(id(parameter) in kept for parameter in weights.values())
    ran, dead = dead_signs(net, torch.randn(4, 3, 64, 64))
    assert len(ran) == count == len(table.binarized)
    assert dead == set()
    assert not table.untraced


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        *product(["resnet18", "alexnet", "squeezenet1_1", "mobilenet_v3_small"], ["prelu", "hardtanh", "identity"]),
        ("vgg11", "prelu"),  # of 133 million weights
    ],
)
def test_every_binary_layer_of_torchvisions_networks_sees_signs_of_both_kinds_on_noise(name, activation):
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(num_classes=10)
    first = next(name for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    binarize_(net, XNOR, skip=[first], activation=activation)
    found = shares(net, torch.randn(4, 3, 64, 64))
    assert len(found) > 5
    assert {layer: share for layer, share in found.items() if not 0.1 < share < 0.91} == {}


@pytest.mark.parametrize(
    ("between", "pooled"),
    [
        ([nn.MaxPool2d(2)], True),
        ([nn.ReLU(), nn.AvgPool2d(2), nn.Dropout()], True),
        ([nn.MaxPool2d(2), nn.BatchNorm2d(8)], False),
        ([nn.MaxPool2d(2), nn.Conv2d(8, 8, 1)], False),
        ([nn.ReLU(), nn.Dropout()], False),
    ],
)
def test_a_norm_is_put_in_front_of_a_sign_that_a_pool_leads_to(between, pooled):
    for norm in ("pooled", "keep"):
        net = chain(*copy.deepcopy(between))
        binarize_(net, "XNOR", skip=["0"], norm=norm)
        assert isinstance(net[-1], nn.Sequential) == (pooled and norm == "pooled")
    if pooled:
        net = chain(*copy.deepcopy(between))
        binarize_(net, "XNOR", skip=["0"], norm="missing")
        assert isinstance(net[-1].norm, BatchNorm2d)
    net = chain(*copy.deepcopy(between))
    binarize_(net, "BWN", skip=["0"])
    assert isinstance(net[-1], BinaryConv2d)  # takes no signs


def test_functional_pools_and_pools_of_branches_count_too():
    class Branches(nn.Module):
        def __init__(self, shortcut):
            super().__init__()
            self.shortcut = shortcut
            self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.last = nn.Conv2d(8 if shortcut else 16, 8, 3)

        def forward(self, x):
            x = self.norm(self.stem(x))
            pooled = F.max_pool2d(x, 3, 1, 1)
            return self.last(x + pooled if self.shortcut else torch.cat([x, pooled], 1))

    for shortcut in (True, False):
        net = Branches(shortcut)
        binarize_(net, "XNOR", skip="stem")
        assert isinstance(net.last, nn.Sequential) is not shortcut


def test_weights_bias_and_names_stay_and_norms_become_steady():
    net = torchvision.models.resnet18()
    before, parameters = copy.deepcopy(net.state_dict()), dict(net.named_parameters())
    binarize_(net, "XNOR", skip=["conv1", "fc"], norm="keep")
    after = net.state_dict()
    assert {key for key in after if "relu" not in key} == set(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(dict(net.named_parameters())[key] is parameter for key, parameter in parameters.items())
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(type(norm) is BatchNorm2d for norm in norms)
    assert type(net.conv1) is Conv2d


def test_with_float_the_converted_network_computes_what_it_did():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    twin, x = copy.deepcopy(net), torch.randn(2, 3, 64, 64)
    assert "ReLU" not in str(binarize_(net, "Float"))
    for mode in (True, False):
        torch.testing.assert_close(net.train(mode)(x), twin.train(mode)(x), rtol=1e-4, atol=1e-4)


def test_patterns_choose_other_binarizers_and_the_last_match_wins():
    net = torchvision.models.resnet18()
    layers = {"layer4": BWN, "layer4.1.*": ReActNet(shortcut=False), "fc": "BWN"}
    binarize_(net, XNOR(gradient="paper"), skip="conv1", layers=layers, norm="keep")
    kinds = {name: type(m.binarizer).__name__ for name, m in net.named_modules() if isinstance(m, BinaryLayer)}
    assert kinds["layer1.0.conv1"] == "XNOR"
    assert kinds["layer4.0.conv1"] == kinds["fc"] == "BWN"
    assert kinds["layer4.1.conv2"] == "ReActNet"
    assert net.layer1[0].conv1.binarizer.gradient == "paper"
    assert isinstance(net.layer4[1].conv1.post_layer, RPReLU)


def test_functional_relus_are_replaced_and_the_module_still_copies_pickles_and_compiles():
    torch.manual_seed(0)
    net, x = Functional(), torch.randn(2, 3, 8, 8)
    table = binarize_(net, "XNOR", skip=["conv1", "fc"])
    assert [change.before for change in table.changes if change.after == "PReLU"] == ["relu()"] * 2  # fc is real
    assert dead_signs(net, x) == ({"conv2", "conv3"}, set())
    assert isinstance(net, Functional)
    expected = net.eval()(x)
    assert torch.equal(copy.deepcopy(net)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), expected)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(x), expected)
    slopes = [module for module in net.modules() if isinstance(module, nn.PReLU)]
    net.train()(x).square().sum().backward()
    assert all(slope.weight.grad.abs().max() > 0 for slope in slopes)


def test_networks_alike_have_one_class_as_ensembles_expect():
    nets = [Functional() for _ in range(2)]
    for net in nets:
        binarize_(net, "XNOR", skip="conv1")
    copies = [copy.deepcopy(nets[0]), pickle.loads(pickle.dumps(nets[0]))]
    assert len({type(net) for net in (*nets, *copies)}) == 1
    stacked, _ = torch.func.stack_module_state(nets)
    assert stacked["conv1.weight"].shape[0] == 2
    assert type(nets[0]) is not type(Functional())


def test_a_traced_module_stays_one_and_computes_what_its_original_would():
    class Net(Functional):
        def forward(self, x):
            return super().forward(x)

    torch.manual_seed(0)
    net = Net()
    traced = torch.fx.symbolic_trace(copy.deepcopy(net))
    for each in (net, traced):
        binarize_(each, "XNOR", skip="conv1")
    traced.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 8, 8)
    for other in (traced, copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert isinstance(other, torch.fx.GraphModule)
        assert torch.equal(other.eval()(x), net.eval()(x))


def test_real_layers_can_become_binary_later():
    torch.manual_seed(0)
    net, x = Functional(), torch.randn(2, 3, 8, 8)
    binarize_(net, "XNOR", skip=["conv1", "conv3", "fc"])
    table = binarize_(net, "BNN", skip=["conv1", "fc"])
    assert table.binarized == ["conv3"]
    assert dead_signs(net, x) == ({"conv2", "conv3"}, set())
    expected = net.eval()(x)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), expected)
    assert torch.equal(copy.deepcopy(net)(x), expected)


def test_tracing_leaves_no_trace_in_the_module():
    class Remembers(Functional):
        def forward(self, x):
            self.seen = self.norm1(self.conv1(x))
            return self.norm2(self.conv2(self.seen))

    net = Remembers().eval()
    net.conv1.train()
    binarize_(net, "XNOR", skip=["conv1", "conv3", "fc"])
    assert not hasattr(net, "seen")
    assert not net.training
    assert net.conv1.training


def test_a_functional_relu_of_an_inner_module_is_replaced_there():
    torch.manual_seed(0)
    net = nn.Sequential(Functional(), nn.ReLU(), nn.Linear(4, 2))
    table = binarize_(net, "XNOR", skip=["0.conv1", "0.fc"])
    assert [c.name for c in table.changes if c.after == "PReLU"] == ["0.forward", "0.forward", "1"]
    assert dead_signs(net, torch.randn(64, 3, 8, 8))[1] == set()


def test_a_forward_that_differs_between_the_modes_is_not_rewritten():
    class Drops(Functional):
        def forward(self, x):
            x = F.dropout(F.relu(self.norm1(self.conv1(x))), training=self.training)
            return self.norm2(self.conv2(x))

    with pytest.raises(UserError, match=r"differs between training and evaluation.*Make that ReLU a module"):
        binarize_(Drops(), "XNOR", skip=["conv1", "conv3", "fc"])


@pytest.mark.parametrize("kind", [nn.PReLU, nn.Hardtanh, nn.Identity])
def test_the_activation_in_front_of_a_sign_is_the_requested_one(kind):
    net = chain(nn.ReLU(), nn.MaxPool2d(2), nn.Dropout())
    binarize_(net, XNOR, skip="0", activation=kind.__name__.lower(), norm="keep")
    assert type(net[2]) is kind
    assert dead_signs(net, torch.randn(4, 3, 12, 12))[1] == set()


def test_keeping_a_relu_that_would_kill_a_sign_is_refused_and_changes_nothing():
    net = torchvision.models.resnet18()
    with pytest.raises(UserError, match=r"layer1\.[01]\.conv[12]: XNOR takes the sign of a ReLU's output"):
        binarize_(net, "XNOR", skip=["conv1", "fc"], activation="keep")
    assert not any(isinstance(module, BinaryLayer | BatchNorm2d) for module in net.modules())


def test_keeping_is_possible_where_inputs_stay_real_or_a_norm_is_between():
    net = chain(nn.ReLU())
    binarize_(net, "BWN", skip="0", activation="keep")
    assert isinstance(net[2], nn.ReLU)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    binarize_(net, "XNOR", skip="0", activation="keep")
    assert dead_signs(net, torch.randn(4, 3, 12, 12))[1] == set()


def test_a_shared_relu_is_replaced_once_and_of_unlike_widths_has_one_slope():
    bottleneck = torchvision.models.resnet50().layer1[0]
    net = nn.Sequential(nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), bottleneck, nn.ReLU(), nn.Conv2d(256, 8, 1))
    table = binarize_(net, "XNOR", skip="0")
    assert net[2].relu.num_parameters == 1
    assert any("used 3 times" in change.note for change in table.changes)
    assert dead_signs(net, torch.randn(2, 3, 8, 8))[1] == set()


@pytest.mark.parametrize("clip", [nn.ReLU6(), nn.Hardtanh(0, 1), nn.Threshold(0, 0)])
def test_modules_that_clip_like_a_relu_are_replaced_too(clip):
    net = chain(clip)
    (change,) = [each for each in binarize_(net, "XNOR", skip="0").changes if each.after == "PReLU"]
    assert isinstance(net[2], nn.PReLU)
    assert change.note == "a ReLU before 3 would make every sign +1", "used once"


class Calls(nn.Module):
    """A function between a norm and a convolution to convert."""

    def __init__(self, between):
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.between = between

    def forward(self, x):
        return self.conv2(self.between(self.norm(self.conv1(x))))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.clamp(0), lambda x: x.clamp(min=0), lambda x: torch.clamp(x, 0.0, 6.0), lambda x: x.clamp_min(0),
        lambda x: F.hardtanh(x, 0.0, 1.0), lambda x: F.hardtanh(x, min_val=0.0, max_val=6.0), F.relu, F.relu6,
    ],
)  # fmt: skip
def test_a_function_that_clips_like_a_relu_is_replaced_too(between):
    net = Calls(between)
    (change,) = [each for each in binarize_(net, "XNOR", skip="conv1").changes if each.after == "PReLU"]
    assert change.note == "a ReLU before conv2 would make every sign +1"
    assert dead_signs(net, torch.randn(4, 3, 8, 8)) == ({"conv2"}, set())


@pytest.mark.parametrize(
    "between", [lambda x: x.clamp(-1), lambda x: x.clamp(max=1), lambda x: F.hardtanh(x), lambda x: x.clamp(-1, 0.5)]
)
def test_a_function_that_leaves_negative_values_stays(between):
    net = Calls(between)
    assert "PReLU" not in [each.after for each in binarize_(net, "XNOR", skip="conv1").changes]
    assert dead_signs(net, torch.randn(4, 3, 8, 8)) == ({"conv2"}, set())


def test_a_norm_counts_only_for_the_layer_behind_it():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    binarize_(net, "XNOR", skip="0", norm="missing")
    assert [type(layer).__name__ for layer in net] == ["Conv2d", "BatchNorm2d", "BinaryConv2d", "Sequential"]


def test_a_missing_norm_is_put_in_front_and_keeps_the_relu_alive():
    torch.manual_seed(0)
    net = torchvision.models.alexnet(num_classes=10)
    weight = net.features[3].weight
    table = binarize_(net, "XNOR", skip=["features.0", "classifier.6"], norm="missing")
    block = net.features[3]
    assert isinstance(block.norm, BatchNorm2d)
    assert block.layer.weight is weight
    assert isinstance(net.classifier[1].norm, BatchNorm1d)
    assert isinstance(net.features[1], nn.ReLU)
    assert "with a norm before it, features.3.norm" in str(table)
    ran, dead = dead_signs(net, torch.randn(4, 3, 64, 64))
    assert (len(ran), dead) == (6, set())


def test_a_layer_that_reads_the_images_gets_a_norm_too():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardtanh(), nn.Conv2d(8, 4, 3))
    binarize_(net, "XNOR", norm="missing")
    assert [type(net[place].norm) for place in (0, 2)] == [BatchNorm2d, BatchNorm2d]


@pytest.mark.parametrize("shape", [(6, 8), (6, 3, 8), (6, 2, 3, 8)])
def test_a_missing_norm_before_a_linear_layer_takes_the_features_of_any_map(shape):
    net = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
    binarize_(net, "XNOR", skip="0", norm="missing")
    x, norm = torch.randn(shape), net[2].norm
    assert net(x).shape == (*shape[:-1], 4)
    rows = net[:2](x).detach().reshape(-1, 8)
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(dim=0))
    torch.testing.assert_close(norm(net[:2](x)).reshape(-1, 8).mean(dim=0), torch.zeros(8), atol=1e-6, rtol=0)
    net.eval()
    torch.testing.assert_close(net(x).reshape(-1, 4), net(x.reshape(-1, 8)))


def test_a_layer_behind_a_norm_gets_no_second_one():
    net = torchvision.models.resnet18()
    before = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    binarize_(net, "XNOR", skip=["conv1", "fc", "layer1.0.conv1"], norm="missing")
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == before


def test_non_negative_functions_other_than_relu_are_refused_by_name():
    with pytest.raises(UserError, match=r"2 would take the sign of the output of Sigmoid"):
        binarize_(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 8, 3)), "XNOR", skip="0")


def test_without_a_trace_the_order_within_a_sequential_is_used_with_a_warning():
    net = Untraceable()
    with pytest.warns(UserWarning, match="torch.fx cannot trace Untraceable"):
        table = binarize_(net, "XNOR", skip=["features.0", "fc"])
    assert "torch.fx could not trace the module" in str(table)
    assert isinstance(net.features[2], nn.PReLU)
    assert dead_signs(net, torch.randn(2, 3, 8, 8)) == ({"features.3"}, set())


def test_without_a_trace_uncertain_cases_are_refused_unless_a_norm_decides():
    with pytest.raises(UserError, match=r"fc takes signs, but what precedes it is unknown.*skip the layer"):
        binarize_(Untraceable(), "XNOR", skip="features.0")
    net = Untraceable()
    with pytest.warns(UserWarning, match="cannot trace"):
        binarize_(net, "XNOR", skip="features.0", norm="missing")
    assert isinstance(net.fc.norm, BatchNorm1d)


def test_learned_parameters_are_fitted_to_the_weights_and_flipped_weights_store_signs():
    net = chain()
    weight = net[2].weight.detach().clone()
    binarize_(net, XNORPlusPlus, skip="0")
    torch.testing.assert_close(net[2].binarizer.gain.detach(), weight.abs().mean((1, 2, 3)))
    net = chain()
    parameter = net[2].weight
    binarize_(net, LatentFree, skip="0")
    assert net[2].weight is parameter
    assert (parameter.abs() == 1).all()


def test_dtype_device_and_mode_are_those_of_the_layer():
    net = chain(nn.ReLU()).double().eval()
    binarize_(net, ReActNet, skip="0", norm="missing")
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float64}
    assert not any(module.training for module in net.modules())
    assert net(torch.randn(1, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64


def test_transposed_dilated_and_oddly_padded_layers_stay_and_are_listed():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3),
    )
    notes = {change.name: change.note for change in binarize_(net, "XNOR", skip="0").changes}
    assert "transposed" in notes["2"]
    assert "dilated" in notes["3"]
    assert "reflect" in notes["4"]
    assert [type(net[i]).__name__ for i in (2, 3, 4, 6)] == ["ConvTranspose2d", "Conv2d", "Conv2d", "BinaryConv2d"]
    with pytest.raises(UserError, match=r"layers contains 3, but it stays real: it is dilated"):
        binarize_(net, "XNOR", layers={"3": "BWN"})


def test_layers_whose_weights_torch_reads_itself_are_left():
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.LayerNorm(8), nn.Linear(8, 4))
    table = binarize_(net, "XNOR")
    assert table.binarized == ["2"]
    assert "TransformerEncoderLayer reads its weights itself" in str(table)
    assert net(torch.randn(2, 5, 8)).shape == (2, 5, 4)


class ReadsWeights(nn.Module):
    """Like the attention of torchvision's Swin: a linear layer whose weights are read but which is never called."""

    def __init__(self):
        super().__init__()
        self.norm, self.read, self.called = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.called(F.linear(self.norm(x), self.read.weight, self.read.bias))


def test_a_layer_whose_weights_are_read_and_that_is_never_called_stays_real():
    net = ReadsWeights()
    table = binarize_(net, "XNOR")
    assert table.binarized == ["called"]
    assert "no forward calls it" in str(table)
    assert type(net.read) is nn.Linear
    with pytest.raises(UserError, match=r"layers contains read, but it stays real: no forward calls it"):
        binarize_(ReadsWeights(), "XNOR", layers={"read": "BWN"})


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.conv(self.norm(self.conv(self.norm(x))))


def tied():
    net = chain()
    net.append(nn.Conv2d(8, 8, 3))
    net[3].weight = net[2].weight
    return net


def alias():
    net = chain()
    net.append(net[2])
    return net


def lazy():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LazyConv2d(8, 3))


def hooked():
    net = chain()
    net[2].register_forward_hook(lambda *_: None)
    return net


def parametrised():
    net = chain()
    nn.utils.parametrizations.weight_norm(net[2])
    return net


def quantised():
    return nn.Sequential(nn.Linear(4, 4), torch.ao.nn.quantized.dynamic.Linear(4, 4))


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Twice, {}, r"conv is used 2 times in forward"),
        (tied, {"skip": "0"}, r"2 shares its weights \(2\.weight and 3\.weight are one tensor\)"),
        (alias, {"skip": "0"}, r"shares its weights|is used 2 times"),
        (lazy, {"skip": "0"}, r"2 is lazy and has no weights yet"),
        (hooked, {"skip": "0"}, r"2 has hooks"),
        (parametrised, {"skip": "0"}, r"2 has a parametrised weight"),
        (quantised, {}, r"1 is already quantised"),
        (chain, {"skip": ["0", "convv"]}, r"'convv' in skip matches no layer"),
        (Functional, {"skip": "conv11"}, r"'conv11' in skip matches no layer\. Did you mean conv1\?"),
        (chain, {"layers": {"9": "BWN"}}, r"'9' in layers matches no layer"),
        (chain, {"skip": ["0", "2"]}, r"leaves no layer"),
        (chain, {"skip": ["0", 2]}, r"skip contains 2\. Expected names or patterns"),
        (chain, {"skip": None}, r"skip contains None\. Expected names or patterns"),
        (chain, {"layers": ["2"]}, r"layers is \['2'\]\. Expected binarizers by name"),
        (chain, {"activation": "relu"}, r"activation is 'relu'\. Expected one of 'prelu', 'hardtanh'"),
        (chain, {"norm": "always"}, r"norm is 'always'\. Expected one of 'pooled', 'keep', 'missing'"),
        (chain, {"binarizer": "XNORR"}, r"no binarizer named 'XNORR'\. Did you mean XNOR\?"),
        (lambda: nn.Conv2d(3, 8, 3), {}, r"was given one layer, Conv2d\. Wrap it in nn\.Sequential"),
        (lambda: nn.Sequential(nn.ReLU()), {}, r"no nn\.Conv2d or nn\.Linear"),
        (lambda: nn.DataParallel(chain()), {}, r"was given a DataParallel\. Binarize the module before you wrap it"),
        (lambda: nn.Sequential(nn.DataParallel(chain())), {}, r"0 is a DataParallel\. Binarize the module before"),
        (lambda: torch.compile(chain()), {}, r"Binarize the module before you compile it"),
    ],
)  # fmt: skip
def test_impossible_conversions_are_refused_and_change_nothing(make, arguments, message):
    net = make()
    before = [type(module) for module in net.modules()]
    with pytest.raises(UserError, match=message):
        binarize_(net, **{"binarizer": "XNOR", **arguments})
    assert [type(module) for module in net.modules()] == before


@pytest.mark.parametrize(
    ("given", "message"),
    [("net", r"the model is str\. Expected an nn\.Module\.$"), (Twice, r"the model is Twice\. .* call it, Twice\(\)")],
)
def test_what_is_no_module_is_refused_in_words_wherever_one_is_expected(given, message):
    optimizer = torch.optim.SGD(chain().parameters(), 0.1)
    packing = {"image_size": 8, "classes": ["cat"]}
    calls = (
        lambda: binarize_(given, "XNOR"),
        lambda: attach(optimizer, given),
        lambda: xl.summary(given, (3, 8, 8)),
        lambda: xl.pack(given, **packing),
    )
    for call in calls:
        with pytest.raises(UserError, match=message):
            call()


def test_a_table_of_changes_shows_itself_where_it_is_not_printed():
    table = binarize_(chain(), "XNOR", skip="0")
    assert repr(table) == str(table)


@pytest.mark.parametrize("make", [lazy, hooked, parametrised])
def test_a_layer_that_cannot_be_binary_may_be_skipped(make):
    net = make()
    net.extend([nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)])
    assert binarize_(net, "XNOR", skip=["0", "2"]).binarized == ["4"]


def test_the_result_trains_exports_and_loads_its_own_state():
    torch.manual_seed(0)
    net, other = Functional(), Functional()
    for each in (net, other):
        binarize_(each, "XNOR", skip=["conv1", "fc"], norm="missing")
    x = torch.randn(2, 3, 8, 8)
    net.train()(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(x), net.eval()(x))
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x))
    assert isinstance(net.conv2, BinaryConv2d)
    assert not any(isinstance(module, BinaryLinear) for module in net.modules())


def test_real_layers_of_a_network_with_shortcuts_round_once_and_the_table_says_so():
    net = torchvision.models.resnet18(num_classes=10)
    before = {key: values.clone() for key, values in net.state_dict().items()}
    table = binarize_(net, "XNOR", skip=["conv1", "fc", "*.downsample"], norm="keep")
    kinds = {name: type(net.get_submodule(name)) for name in ("conv1", "layer2.0.downsample.0", "fc", "avgpool")}
    assert list(kinds.values()) == [Conv2d, Conv2d, Linear, AdaptiveAvgPool2d]
    notes = {change.name: change.note for change in table.changes}
    assert {notes[name] for name in kinds if name != "avgpool"} == {"skipped; sums in fp64 in evaluation"}
    assert notes["avgpool"] == "sums in fp64 in evaluation"
    after = net.state_dict()
    assert all(torch.equal(values, after[key]) for key, values in before.items())


def test_a_chain_keeps_the_real_layers_of_torch():
    net = torchvision.models.alexnet(num_classes=10)
    binarize_(net, "XNOR", skip=["features.0", "classifier.6"])
    assert type(net.features[0]) is nn.Conv2d
    assert type(net.classifier[6]) is nn.Linear


@pytest.mark.parametrize(
    ("shared", "skip"),
    [(nn.Conv2d(8, 8, 3, padding=1), ["0", "1", "3"]), (nn.ConvTranspose2d(8, 8, 3, padding=1), ["0"])],
)
def test_a_layer_of_two_names_that_stays_real_is_listed_under_both(shared, skip):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), shared, nn.BatchNorm2d(8), shared, nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    found = binarize_(model, "XNOR", skip=skip)
    assert [change.name for change in found.changes] == list("012345")
    assert isinstance(model[5], BinaryConv2d)


@pytest.mark.parametrize("name", ["feed_forward", "feedforward"])
def test_a_layer_may_have_a_name_that_ends_like_a_forward(name):
    model = nn.Sequential(OrderedDict([("a", nn.BatchNorm1d(8)), (name, nn.Linear(8, 8)), ("b", nn.Linear(8, 2))]))
    found = binarize_(model, "XNOR", skip=["b"])
    assert [change.name for change in found.changes] == ["a", name, "b"]
    assert isinstance(model.get_submodule(name), BinaryLinear)
