"""Float networks made of torch's own modules only, as they would be deployed."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from xnorlit.binarize.reactnet import RPReLU
from xnorlit.layers import AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, Conv2d, Linear
from xnorlit.layers.tracing import unchanged
from xnorlit.models.built import WholeNorm
from xnorlit.models.resnet import ZeroChannels

PLAIN_NORMS = {BatchNorm1d: nn.BatchNorm1d, WholeNorm: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d}
FUSE: dict[type[nn.Module], Callable[..., nn.Module]] = {nn.Conv2d: fuse_conv_bn_eval, nn.Linear: fuse_linear_bn_eval}


@torch.no_grad()
def plain(network: nn.Module) -> nn.Sequential:
    """A float network as fp32 libraries run it best: torch's own modules, in evaluation mode, with its weights.

    A norm directly after a convolution or a linear layer is folded into it, as every deployment tool does; the layer
    then has a bias. Other norms stay, and so do the shifts of an RPReLU. What only training needs is omitted. Zeros pad
    each convolution. A float QuickNet is padded with ones, for its binary network's sake; no library does that without
    another pass over the map.

    Norms of a user's module stay where torch.fx cannot trace its forward.

    Args:
        network: A network whose binarizers are all `Float`; it is not changed.
    """
    found = _torchs(copy.deepcopy(network)).eval()
    _fold_norms(found)
    return nn.Sequential(*_flat(found)).eval()


def _torchs(module: nn.Module) -> nn.Module:
    """The module with torch's own modules in place of this package's."""
    if isinstance(module, BinaryLayer):
        layer = _layer(module)
        return nn.Sequential(nn.ReLU(), layer) if module.binarizer.rectify else layer
    if isinstance(module, WholeNorm):
        return nn.Sequential(nn.Unflatten(1, (1, -1)), _norm(module), nn.Flatten())  # (N, F) as one channel
    if type(module) in (BatchNorm1d, BatchNorm2d):
        return _norm(module)
    if isinstance(module, Conv2d | Linear | AdaptiveAvgPool2d):
        ours: Any = module
        kinds = (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d)
        ours.__class__ = next(kind for kind in kinds if isinstance(module, kind))  # They differ in the forward only.
        return ours
    if isinstance(module, RPReLU):
        return _ShiftedPReLU(module)
    if isinstance(module, ZeroChannels):
        return _ZeroChannels(module)
    if isinstance(module, nn.Dropout | nn.Dropout2d):
        return nn.Identity()
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _torchs(child)
    return module


def _layer(layer: BinaryLayer) -> nn.Conv2d | nn.Linear:
    outputs, biased = len(layer.weight), layer.bias is not None
    found: Any
    if isinstance(layer, BinaryConv2d):
        window = (layer.kernel_size, layer.stride, layer.padding)
        found = nn.Conv2d(layer.channels, outputs, *window, groups=layer.groups, bias=biased, device="meta")
    else:
        found = nn.Linear(layer.weight.shape[1], outputs, biased, device="meta")
    found.weight, found.bias = layer.weight, layer.bias
    return found


def _norm(norm: Any) -> nn.BatchNorm2d | nn.BatchNorm1d:
    found = PLAIN_NORMS[type(norm)](norm.num_features, eps=norm.eps, affine=False)
    found.running_mean, found.running_var = norm.running_mean, norm.running_var
    found.weight, found.bias = norm.weight, norm.bias
    if not norm.varies.all():
        found.weight = nn.Parameter(norm.varies * (1.0 if norm.weight is None else norm.weight))
    if (found.weight is None) != (found.bias is None):  # Tools expect both or neither.
        name, fill = ("weight", torch.ones) if found.weight is None else ("bias", torch.zeros)
        delattr(found, name)
        found.register_buffer(name, fill(norm.num_features))
    return found


class _ShiftedPReLU(nn.Module):
    """An RPReLU of torch's own operations, which exporters and compilers can read; inputs are `(N, C, H, W)`."""

    def __init__(self, given: RPReLU) -> None:
        super().__init__()
        self.before, self.after = (nn.Parameter(each.view(-1, 1, 1)) for each in (given.before, given.after))
        self.prelu = nn.PReLU(len(given.slope), device="meta")
        self.prelu.weight = given.slope

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(x + self.before).add_(self.after)


class _ZeroChannels(nn.Module):
    """`ZeroChannels` by concatenation: OpenVINO's 8 bits refuse a padding with channels whose zero is not level 0."""

    def __init__(self, given: ZeroChannels) -> None:
        super().__init__()
        self.side, self.stride = given.side, given.stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        zeros = torch.zeros_like(x[:, :1]).expand(-1, self.side, -1, -1)
        return torch.cat([zeros, x, zeros], 1)


def _fold_norms(network: nn.Module) -> None:
    """Folds each norm into the layer before it, if nothing else reads that layer."""
    try:
        with unchanged(network):
            graph = fx.Tracer().trace(network)
    except Exception:  # A user's own forward may depend on values, and raise anything when it gets a proxy.
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        parts: list[Any] = [network.get_submodule(str(each.target)) for each in (before, node)]
        layer, norm = parts
        if type(layer) not in FUSE or type(norm) not in PLAIN_NORMS.values() or norm.running_mean is None:
            continue
        if calls[before.target] == calls[node.target] == 1 and norm.num_features == len(layer.weight):
            network.set_submodule(str(before.target), FUSE[type(layer)](layer, norm))
            network.set_submodule(str(node.target), nn.Identity())


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that run one after the other."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for child in module.children():
            yield from _flat(child)
    elif not isinstance(module, nn.Identity):
        yield module
