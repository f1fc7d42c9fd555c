"""The result of a packed layer, in plain loops over integers, independent of the engine."""

import numpy as np


def sign(values):
    return np.where(np.asarray(values) >= 0, 1, -1)


def pack(signs):
    """Signs as bytes, the first channel in the lowest bit, 1 for +1."""
    signs = np.asarray(signs)
    bits = np.pad(signs > 0, [*[(0, 0)] * (signs.ndim - 1), (0, -signs.shape[-1] % 8)])
    octets = bits.reshape(*signs.shape[:-1], (signs.shape[-1] + 7) // 8, 8)
    return (octets * 2 ** np.arange(8)).sum(axis=-1).astype(np.uint8)


def unpack(words, channels):
    """Words of 32 bits along the last axis as 0 and 1 per channel; the bits beyond must be 0."""
    bits = (np.asarray(words, np.uint32)[..., None] >> np.arange(32, dtype=np.uint32)) & 1
    bits = bits.reshape(*np.shape(words)[:-1], -1)
    assert not bits[..., channels:].any(), "bits beyond the last channel"
    return bits[..., :channels].astype(int)


def convolve(signs, weights, stride, padding, groups=1):
    """Sums of sign products, padded taps counting 0: `(N, H, W, C) x (O, kh, kw, C / groups) -> (N, H', W', O)`."""
    images, height, width, _ = signs.shape
    outputs, kernel_y, kernel_x, depth = weights.shape
    rows = (height + 2 * padding[0] - kernel_y) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel_x) // stride[1] + 1
    sums = np.zeros((images, rows, columns, outputs), int)
    of_group = outputs // groups
    for y in range(rows):
        for x in range(columns):
            for i in range(kernel_y):
                for j in range(kernel_x):
                    from_y, from_x = y * stride[0] + i - padding[0], x * stride[1] + j - padding[1]
                    if not (0 <= from_y < height and 0 <= from_x < width):
                        continue
                    for g in range(groups):
                        of, into = slice(g * depth, (g + 1) * depth), slice(g * of_group, (g + 1) * of_group)
                        sums[:, y, x, into] += (
                            signs[:, from_y, from_x, of].astype(int) @ weights[into, i, j].astype(int).T
                        )
    return sums


def max_pool(values, size, stride, padding=0):
    """The largest value of each window, what pads left out: `(N, H, W, C) -> (N, H', W', C)`."""
    rows = (values.shape[1] + 2 * padding - size) // stride + 1
    columns = (values.shape[2] + 2 * padding - size) // stride + 1
    pooled = np.empty((values.shape[0], rows, columns, values.shape[3]), values.dtype)
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride - padding, x * stride - padding
            window = values[:, max(top, 0) : top + size, max(left, 0) : left + size]
            pooled[:, y, x] = window.max(axis=(1, 2))
    return pooled
