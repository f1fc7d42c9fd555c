"""The result of a graph, node by node in plain numpy, independent of the engine."""

import numpy as np

from tests.packed.oracle import convolve, max_pool
from xnorlit.packed import graph as g
from xnorlit.packed.layer import Layer

F = np.float32


def run(graph, tensors, images, keep=False):
    """The logits, or every value by its name; reals are fp32, signs -1 and +1, codes whole numbers."""
    values = {g.PIXELS: images}
    flows = graph.flows()
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        of = {name[len(node.name) + 1 :]: t for name, t in tensors.items() if name.rpartition(".")[0] == node.name}
        values[node.name] = operation(node.op, inputs, of, graph, flows[node.inputs[0]].map)
    return values if keep else values[graph.nodes[-1].name].reshape(len(images), -1)


def operation(op, inputs, of, graph, at):
    x = inputs[0]
    if isinstance(op, Layer):
        return layer(op, x, of, graph, at)
    if isinstance(op, g.Affine):
        return (x * of["scale"]).astype(F) + of["shift"]
    if isinstance(op, g.Shift):
        return x + of["shift"]
    if isinstance(op, g.Add):
        return inputs[0] + inputs[1]
    if isinstance(op, g.TwoSlope):
        above, below = (of[side] if slope is None else F(slope) for side, slope in vars(op).items())
        return np.where(x > 0, above * x, below * x)
    if isinstance(op, g.Clip):
        return np.minimum(np.maximum(x, F(op.low)), F(op.high))
    if isinstance(op, g.Sign):
        flips = bits(of["flip"], x.shape[3])
        return np.where((x >= of["threshold"]) ^ (flips == 1), 1, -1)
    if isinstance(op, g.MaxPool):
        return max_pool(x, op.kernel, op.stride, op.padding)
    if isinstance(op, g.AveragePool):
        return average_pool(x, op.kernel, op.stride, op.padding)
    if isinstance(op, g.GlobalAverage):
        sums = np.zeros((len(x), 1, 1, x.shape[3]))
        for y in range(x.shape[1]):
            for column in range(x.shape[2]):
                sums[:, 0, 0] += x[:, y, column]
        return (sums / (x.shape[1] * x.shape[2])).astype(F)
    if isinstance(op, g.Subsample):
        return np.pad(x[:, :: op.stride, :: op.stride], [(0, 0)] * 3 + [(op.before, op.after)])
    if isinstance(op, g.Concat):
        return np.concatenate(inputs, axis=3)
    assert isinstance(op, g.Flatten)
    return x.reshape(len(x), 1, 1, -1)


def bits(octets, count):
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(int)


def average_pool(x, size, stride, padding):
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    pooled = np.empty((len(x), rows, columns, x.shape[3]), F)
    for y in range(rows):
        for column in range(columns):
            total = None
            for i in range(y * stride - padding, y * stride - padding + size):
                for j in range(column * stride - padding, column * stride - padding + size):
                    if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                        total = x[:, i, j] if total is None else total + x[:, i, j]
            pooled[:, y, column] = total / F(size * size)
    return pooled


def layer(op, x, of, graph, at):
    window = op.looks(at)
    depth = at.channels // op.groups
    if op.weights.form == "int8":
        n = bytes_(op, x, of, window)
    elif op.operand.form == "pixels":
        x = ((x.astype(F) - np.array(graph.mean, F)) / np.array(graph.std, F)).astype(F)
    if op.binary:
        n = integers(op, x, of, window, depth)
    elif op.weights.form != "int8":
        assert op.accumulate == "fp64"
        n = doubles(x, of["weight"], window, op.groups)
    if op.window_sum:
        group = np.repeat(np.arange(op.groups), op.outputs // op.groups)
        sums = np.stack(
            [integers(op, x[..., i * depth : (i + 1) * depth], None, window, depth)[..., 0] for i in range(op.groups)],
            axis=3,
        )[..., group]
        rows, columns = ways(op, at, window, 0), ways(op, at, window, 1)
        constant = of["constant"][rows][:, columns]
        n = ((n.astype(F) * of["sum_scale"]) + (sums.astype(F) * of["window_scale"])) + constant
    if op.pool:
        n = max_pool(n, *op.pool)
    if op.ending.form == "reals":
        y = n.astype(F)
        for i, slope in enumerate(op.ending.slopes):
            y = (y * of[f"scale{i}"]).astype(F) + of[f"shift{i}"]
            y = np.where(y < 0, (of[f"slope{i}"] if slope is None else F(slope)) * y, y)
        return y
    features = n.shape[1:] if op.ending.per_position else n.shape[3:]
    planes = [bits(flip, np.prod(features)).reshape(features) for flip in of["flip"]]
    for level, threshold in enumerate(of["threshold"]):
        for p in range(len(planes)):
            change = bits(of["change"][level, p], np.prod(features)).reshape(features) if "change" in of else 1
            planes[p] = planes[p] ^ ((n >= threshold) & change)
    code = sum(2**p * plane for p, plane in enumerate(planes))
    return 2 * code - 1 if op.ending.form == "signs" else code


def integers(op, x, of, window, depth):
    """The whole sums of signs or codes; of all weights +1 without tensors."""
    if of is None:
        weights, groups = np.ones((1, *window.kernel, depth), int), 1
    else:
        planes = 2 * bits(of["weight"], depth) - 1
        weights, groups = np.tensordot(op.weights.factors, planes, 1), op.groups
    padding = window.padding
    if op.border == "ones":
        x = np.pad(x, [(0, 0), *((side, side) for side in padding), (0, 0)], constant_values=1)
        padding = (0, 0)
    sums = convolve(x, weights, window.stride, padding, groups)
    return sums if of is None else sums // op.weights.divisor


def bytes_(op, x, of, window):
    """The whole sums of 8-bit weights and pixels, padded with their fill, or levels of reals."""
    weights = of["weight"].astype(int)
    if op.operand.form == "reals":
        levels = np.rint(np.clip(x / F(op.operand.step), F(0), F(255))).astype(int)
        return convolve(levels, weights, window.stride, window.padding, 1)
    fill = of["fill"].astype(int)
    return convolve(x.astype(int) - fill, weights, window.stride, window.padding, 1) + (weights * fill).sum((1, 2, 3))


def doubles(x, weights, window, groups):
    """Sums in fp64, row by row of the window, rounded once."""
    (down, right), (top, left) = window.stride, window.padding
    padded = np.pad(x.astype(float), [(0, 0), (top, top), (left, left), (0, 0)])
    outputs, height, width, depth = weights.shape
    rows = (padded.shape[1] - height) // down + 1
    columns = (padded.shape[2] - width) // right + 1
    sums = np.zeros((len(x), rows, columns, outputs))
    for i in range(height):
        for j in range(width):
            here = padded[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]
            for c in range(depth):
                channels = np.arange(outputs) // (outputs // groups) * depth + c
                sums += here[..., channels] * weights[:, i, j, c].astype(float)
    return sums.astype(F)


def ways(op, at, window, axis):
    """For each row or column of the sums, the number of the way its window lies over the border."""
    if op.border == "ones":
        return [0] * op.sums(at)[axis]
    seen, found = [], []
    for out in range(op.sums(at)[axis]):
        places = range(out * window.stride[axis] - window.padding[axis], 10**6)[: window.kernel[axis]]
        inside = tuple(k for k, place in enumerate(places) if 0 <= place < at[axis])
        if inside not in seen:
            seen.append(inside)
        found.append(seen.index(inside))
    return found
