"""Networks with weights and statistics as extreme as training can produce, and the integers of their layers."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from xnorlit.binarize import Binarizer, PostLayer
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.binarize.xnor import XNOR
from xnorlit.layers import BinaryLayer
from xnorlit.models import AlexNet, Block, Network, build
from xnorlit.packed import PackedNetwork
from xnorlit.packed.graph import PIXELS, Flatten, Node, Sign
from xnorlit.packed.layer import Ending, Layer, Operand


def network(name, *blocks):
    return Network(name, 20, "made up", tuple(blocks))


CONV1 = Block("conv1", "conv norm relu pool", 24, kernel=5, stride=2, padding=2, pool=(2, 1), binary=False)
FC8 = Block("fc8", "norm relu linear", binary=False)
# Every order of norm, ReLU, pool and flattening that a table can express, strides, groups and odd channel counts.
NETWORKS = {
    "pool-before-norm": network(
        "pool-before-norm",
        CONV1,
        Block("conv2", "norm conv pool", 37, kernel=3, padding=1),
        Block("conv3", "norm conv", 50, kernel=3, stride=2, padding=2),
        Block("fc6", "norm flatten linear", 70),
        Block("fc7", "norm linear", 33),
        FC8,
    ),
    "norm-behind-flatten": network(
        "norm-behind-flatten",
        CONV1,
        Block("conv2", "norm conv pool", 40, kernel=3, padding=1, pool=(2, 2), bias=False),
        Block("fc6", "flatten norm linear", 70, bias=False),
        FC8,
    ),
    "relu-behind-layer": network(
        "relu-behind-layer",
        CONV1,
        Block("conv2", "norm conv relu pool", 40, kernel=5, padding=2, groups=2),
        Block("fc6", "flatten norm linear relu", 70),
        Block("fc7", "norm linear relu", 90, input_dropout=0.5),
        Block("fc8", "norm dropout linear", binary=False),
    ),
    "norm-before-pool": network(
        "norm-before-pool",
        Block("conv1", "conv norm pool", 24, kernel=5, stride=2, padding=2, pool=(2, 1), binary=False),
        Block("conv2", "conv norm pool", 40, kernel=3, padding=1),
        Block("conv3", "conv norm relu pool", 40, kernel=3, padding=1, pool=(2, 2)),
        Block("fc6", "norm flatten linear", 70),
        FC8,
    ),
    "binary-to-the-end": network(
        "binary-to-the-end", CONV1, Block("fc6", "norm flatten linear", 64), Block("fc8", "norm linear")
    ),
    "map-to-the-end": network(
        "map-to-the-end",
        Block("conv1", "conv norm pool", 24, kernel=5, stride=2, padding=2, pool=(2, 1), binary=False),
        Block("conv2", "conv norm pool", 20, kernel=3, padding=1),
        Block("fc8", "relu flatten linear", binary=False),
    ),
}


def unkind(table, *, image_size=None, classes=7, seed=0, binarizer=None, layers=None):
    """An evaluation-mode network whose float convolution is exact in any order of summation, and whose norms have
    negative, zero and tiny scales, dead channels, and thresholds that integers hit exactly."""
    torch.manual_seed(seed)
    size = image_size or table.image_size
    model = build(
        table, binarizer or XNOR(), classes=classes, image_size=size, mean=(128,) * 3, std=(64,) * 3, layers=layers
    )
    for _, layer in model.layers():
        layer.weight.data.normal_(std=0.1)
        layer.weight.data[torch.rand(len(layer.weight)) < 0.05] = 0  # an alpha of 0
        layer.binarizer.fit(layer.weight)
        if layer.bias is not None:
            layer.bias.data.normal_(std=0.1)
            layer.bias.data[torch.rand(len(layer.bias)) < 0.2] = 0
    model.conv1.conv.weight.data = torch.randint(-8, 9, model.conv1.conv.weight.shape) / 16
    model.train()(torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8))  # a first batch may set a scale
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            unsettle(module)
        if isinstance(module, Binarizer | RPReLU | nn.PReLU):
            for values in module.parameters():
                values.data.mul_(1 + 0.3 * torch.randn(values.shape)).add_(0.1 * torch.randn(values.shape))
    for _, layer in model.layers():
        if not layer.binarizer.cannot_pack:
            layer.after_step()  # what is learned stays in its range
    for module in model.modules():
        if isinstance(module, PostLayer):
            module.after_step()
    return model.eval()


def unsettle(norm):
    """Give a norm statistics as extreme as training can produce."""
    count = norm.num_features
    kind = torch.randint(0, 6, (count,))
    norm.running_mean.normal_(std=2)
    norm.running_mean[kind < 2] = 0  # with a beta of 0 the boundary lies at 0
    norm.running_var.uniform_(0.5, 20)
    norm.running_var[torch.rand(count) < 0.1] = 1e-30  # a constant channel
    norm.weight.data.normal_()
    norm.weight.data[kind == 5] = 0
    norm.bias.data.normal_(std=0.3)
    norm.bias.data[kind < 3] = 0


@torch.no_grad()
def settle(model, images, *, variances=False):
    """Moves each norm's mean to its channels' own, so that hardly a channel has one sign throughout.

    With `variances` those too, so that reals stay of the size of 1 from layer to layer.
    """

    def take(norm, inputs):
        dims = [d for d in range(inputs[0].ndim) if d != 1]
        norm.running_mean.copy_(inputs[0].mean(dims) + norm.running_mean * 0.1)
        if variances:
            living = norm.running_var > 1e-20
            norm.running_var[living] = inputs[0].var(dims)[living] * norm.running_var[living] / 10

    # One pass is enough: a norm takes its statistics just before it runs, so what follows reads settled values.
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    handles = [norm.register_forward_pre_hook(take) for norm in norms]
    model(images)
    for handle in handles:
        handle.remove()


def layers_of(model):
    """The layers of a built network by block name, those of any other module by their own names."""
    if isinstance(model, AlexNet):
        return list(model.layers())
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BinaryLayer)]


def integers_of_module(model, images):
    """The integers of each binary layer in the evaluation forward, `{name: (N, H, W, O)}`."""
    found = {}

    def record(name, layer):
        operate = layer.operate

        def recording(x, weight):
            y = operate(x, weight)
            if weight.shape != layer.weight.shape:  # of AdaBin, what counts the signs of its inputs
                return y
            integers = y.round().int()
            found[name] = (integers.permute(0, 2, 3, 1) if y.ndim == 4 else integers[:, None, None]).numpy()
            return y

        layer.operate = recording

    binary = [(name, layer) for name, layer in layers_of(model) if layer.binarizer.exact or layer.binarizer.two_valued]
    for name, layer in binary:
        record(name, layer)
    with torch.no_grad():
        logits = model(images)
    for _, layer in binary:
        del layer.operate
    return found, logits.numpy()


def ending_in(graph, tensors, name):
    """The network that ends in the sums of a layer, flattened, its tensors, and the extents of the sums."""
    nodes, flows = {node.name: node for node in graph.steps}, graph.flows()
    layer, (reads,) = nodes[name].op, nodes[name].inputs
    kept, left = set(), [reads]
    while left:
        value = left.pop()
        if value != PIXELS and value not in kept:
            kept.add(value)
            left += nodes[value].inputs
    found = {each: values for each, values in tensors.items() if each.rpartition(".")[0] in kept}
    found[f"{name}.weight"] = tensors[f"{name}.weight"]
    chosen, at = [node for node in graph.steps if node.name in kept], flows[reads].map
    if layer.operand.scale == "K":  # the integers before it multiplies them
        found["signs.threshold"] = np.zeros(at.channels, np.float32)
        found["signs.flip"] = np.zeros((at.channels + 7) // 8, np.uint8)
        chosen.append(Node("signs", (reads,), Sign()))
        layer, reads = replace(layer, operand=Operand("signs")), "signs"
    bare = replace(layer, ending=Ending("reals"), pool=None, window_sum=False)
    chosen += [Node(name, (reads,), bare), Node("flat", (name,), Flatten())]
    sums = layer.sums(at)
    classes = tuple(map(str, range(math.prod(sums))))
    return replace(graph, layers=(), nodes=tuple(chosen), classes=classes), found, sums


def integers_of_engine(graph, tensors, pixels, threads=1):
    """The same from the engine, run once for each layer that counts bits, as a network that ends in its sums."""
    found = {}
    for node in graph.steps:
        if isinstance(node.op, Layer) and node.op.binary:
            until, some, sums = ending_in(graph, tensors, node.name)
            logits = PackedNetwork(until, some)(pixels, threads=threads)
            found[node.name] = logits.astype(np.int32).reshape(len(pixels), *sums)
    return found


def turns(model, graph, tensors):
    """-1 for each output channel whose packed weights are the module's negated, which negates its sums; else +1.

    Export turns a channel around where a norm of negative scale stands before a max pool.
    """
    found = {}
    for layer in graph.layers:
        if not layer.binary:
            continue
        module = dict(layers_of(model))[layer.name]
        octets = tensors[f"{layer.name}.weight"]
        rows, columns = octets.shape[2:4]
        codes = module.binarizer.weight_codes(module.weight).values.detach()
        codes = codes.reshape(len(codes), -1, rows, columns).permute(0, 2, 3, 1).numpy()
        codes = np.tile(codes, (layer.outputs // len(codes), 1, 1, 1))  # every copy of the channels
        planes = np.unpackbits(octets, axis=-1, count=codes.shape[-1], bitorder="little").astype(int)
        factors = np.reshape(layer.weights.factors, (-1, 1, 1, 1, 1))
        packed = (factors * (2 * planes - 1)).sum(axis=0) / layer.weights.divisor
        same, negated = ((packed == sign * codes).all(axis=(1, 2, 3)) for sign in (1, -1))
        assert (same | negated).all(), layer.name
        found[layer.name] = np.where(same, 1, -1)
    return found
