"""The built-in image set: generated and deterministic.

Class = silhouette (5) x surface (2); background, clutter, pose, colour, light, occlusion and noise are nuisance. The
classes are hard enough that accuracy rises over epochs and that a float network beats a binary one.

An image is a pure function of (seed, index, size) and does not depend on the number of images. Coordinates run over
[-1, 1]; U is uniform, N is normal.
"""

import numpy as np
from numpy.typing import NDArray

from xnorlit.data import counter

Array = NDArray[np.floating]  # float32 if it is large

SILHOUETTES = ("disc", "square", "triangle", "flower", "cross")
SURFACES = ("striped", "checked")
CLASSES = tuple(f"{surface}-{silhouette}" for silhouette in SILHOUETTES for surface in SURFACES)

# Per channel over the 6,000 training images at 32 pixels, in 0..255 units.
MEAN = (120.9, 120.2, 120.6)
STD = (50.4, 50.6, 50.5)

_CHUNK = 128  # images per batch: large enough to amortise numpy's calls, small enough for the caches


def labels(count: int) -> NDArray[np.int64]:
    """Labels of the first `count` images; the classes alternate, so any prefix is balanced."""
    return np.arange(count, dtype=np.int64) % len(CLASSES)


def generate(count: int, size: int = 32, seed: int = 0, start: int = 0) -> NDArray[np.uint8]:
    """Images start..start+count-1 of a seed, uint8 [count, size, size, 3].

    Args:
        count: Number of images.
        size: Height and width in pixels.
        seed: Seed; each split has its own.
        start: Index of the first image.
    """
    images = np.empty((count, size, size, 3), np.uint8)
    for begin in range(0, count, _CHUNK):
        indices = np.arange(start + begin, start + min(begin + _CHUNK, count))
        images[begin : begin + len(indices)] = _render(_Draws(counter.key(seed, 3), indices), size)
    return images


class _Draws:
    """Yields the random numbers of the images in order, each shaped [N, 1, 1] or [N, 1, 1, k]."""

    def __init__(self, key: int, indices: NDArray[np.int64]) -> None:
        self.key, self.indices = key, indices
        self._used = 0

    def _next(self, count: int) -> NDArray[np.int64]:
        draws = np.arange(self._used, self._used + count)
        self._used += count
        return draws

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int | None = None) -> Array:
        drawn = counter.uniform(self.key, self.indices[:, None], self._next(count or 1)[None], low, high)
        return self._shaped(drawn, count)

    def normal(self, sigma: float, count: int | None = None) -> Array:
        drawn = sigma * counter.normal(self.key, self.indices[:, None], self._next(count or 1)[None])
        return self._shaped(drawn, count)

    def chance(self, probability: float) -> NDArray[np.bool_]:
        return self.uniform() < probability

    def integer(self, count: int) -> NDArray[np.int64]:
        return (self.uniform() * count).astype(np.int64)

    def noise(self, size: int) -> Array:
        """Standard normal noise of each pixel and channel, [N, size, size, 3]."""
        values = size * size * 3
        halves = counter.normal_pairs(
            counter.key(self.key, 1), self.indices[:, None], np.arange((values + 1) // 2)[None]
        )
        return np.stack(halves, axis=-1).reshape(len(self.indices), -1)[:, :values].reshape(-1, size, size, 3)

    def _shaped(self, drawn: NDArray[np.float64], count: int | None) -> Array:
        drawn = drawn.astype(np.float32)
        return drawn[:, None, None, :] if count else drawn[:, :, None]


def _render(draw: _Draws, size: int) -> NDArray[np.uint8]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    kind = labels(int(draw.indices[-1]) + 1)[draw.indices][:, None, None]

    image = _background(draw, size)
    clutter_hue, clutter_shape, clutter_surface = draw.uniform(), draw.integer(5), draw.integer(2)
    clutter = _object(
        draw, x, y, clutter_shape, clutter_surface, clutter_hue, centre=1.0, size=(0.15, 0.3), rotation=np.pi, warp=0.0
    )
    image = _over(image, *clutter, where=draw.chance(0.7))
    hue = np.mod(kind / np.float32(10) + draw.normal(0.12), 1)
    subject = _object(draw, x, y, kind // 2, kind % 2, hue, centre=0.2, size=(0.7, 0.95), rotation=0.35, warp=0.15)
    image = _over(image, *subject)
    image = _over(image, *_bar(draw, x, y), where=draw.chance(0.25))
    return _lit(draw, image, size)


def _background(draw: _Draws, size: int) -> Array:
    colours = [_rgb(draw.uniform(), draw.uniform(0.05, 0.5), draw.uniform(0.2, 0.9)) for _ in range(2)]
    mix = _field(draw, 3, size)[..., None]
    image = colours[0] * (1 - mix) + colours[1] * mix
    return image + 0.18 * (_field(draw, 9, size)[..., None] - 0.5)


def _object(
    draw: _Draws,
    x: Array,
    y: Array,
    silhouette,
    surface,
    hue,
    *,
    centre: float,
    size: tuple[float, float],
    rotation: float,
    warp: float,
) -> tuple[Array, Array]:
    """Colour [N, H, W, 3] and cover [N, H, W] of an object; `silhouette` and `surface` are class parts [N, 1, 1]."""
    extent = draw.uniform(*size)
    x, y = x - draw.uniform(-centre, centre), y - draw.uniform(-centre, centre)
    angle = draw.uniform(-rotation, rotation)
    aspect, shear = np.exp(draw.uniform(-warp, warp)), draw.uniform(-warp, warp)
    cos, sin = np.cos(angle), np.sin(angle)
    across, along = cos * x + sin * y, cos * y - sin * x
    across = (across + shear * along) * aspect / extent
    along = along / (aspect * extent)
    radius, theta = np.hypot(across, along), np.arctan2(along, across)
    cover = _sigmoid(30 * extent * (_outline(silhouette, theta) - radius))
    return _surface(draw, x, y, surface, hue), cover


def _outline(silhouette: NDArray[np.int64], theta: Array) -> Array:
    """Radius of each silhouette over the angle: a disc, a square, a triangle, five lobes, a cross."""
    outlines = (
        lambda t: np.ones_like(t),
        lambda t: 1.25 * np.cos(np.pi / 4) / np.cos(np.mod(t, np.pi / 2) - np.pi / 4),
        lambda t: 1.5 * np.cos(np.pi / 3) / np.cos(np.mod(t, 2 * np.pi / 3) - np.pi / 3),
        lambda t: 1 + 0.35 * np.cos(5 * t),
        lambda t: 0.62 + 0.75 * np.abs(np.cos(2 * t)) ** 3,
    )
    radius = np.empty_like(theta)
    for number, outline in enumerate(outlines):
        chosen = silhouette[:, 0, 0] == number
        radius[chosen] = outline(theta[chosen])
    return radius


def _surface(draw: _Draws, x: Array, y: Array, surface: NDArray[np.int64], hue: Array) -> Array:
    direction, frequency = draw.uniform(0, 2 * np.pi), draw.uniform(6, 8)
    along = frequency * (np.cos(direction) * x + np.sin(direction) * y) + draw.uniform(0, 2 * np.pi)
    across = frequency * (np.cos(direction) * y - np.sin(direction) * x) + draw.uniform(0, 2 * np.pi)
    wave = np.where(surface == 0, np.sin(along), 1.4 * np.sin(along) * np.sin(across))
    mix = (0.5 + 0.5 * np.tanh(wave * np.exp(draw.uniform(0, 1.2))))[..., None]
    base = _rgb(hue, draw.uniform(0.3, 0.9), draw.uniform(0.35, 0.95))
    other = np.clip(base + draw.normal(0.45, 3) * draw.uniform(0.7, 1.1)[..., None], 0, 1)
    return base * (1 - mix) + other * mix


def _bar(draw: _Draws, x: Array, y: Array) -> tuple[Array, Array]:
    direction = draw.uniform(0, 2 * np.pi)
    distance = np.abs(np.cos(direction) * x + np.sin(direction) * y - draw.uniform(-0.5, 0.5))
    cover = _sigmoid(30 * (draw.uniform(0.05, 0.16) - distance))
    return draw.uniform(count=3), cover


def _lit(draw: _Draws, image: Array, size: int) -> NDArray[np.uint8]:
    image = image * (1 + 0.35 * (2 * _field(draw, 2, size) - 1))[..., None]
    image = (image - 0.5) * draw.uniform(0.5, 1.1)[..., None] + 0.5 + draw.uniform(-0.12, 0.12)[..., None]
    image = image + 0.04 * draw.uniform(0.3, 1)[..., None] * draw.noise(size)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _field(draw: _Draws, cells: int, size: int) -> Array:
    """A smooth random field in [0, 1], [N, size, size]: control points from U(0, 1), smoothstep between them."""
    points = draw.uniform(count=(cells + 1) ** 2).reshape(-1, cells + 1, cells + 1)
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (cells / size)
    cell = place.astype(np.int64)
    part = place - cell
    part = part * part * (3 - 2 * part)
    # Separable: two small matrix products instead of four gathers of full size.
    weights = np.zeros((size, cells + 1), np.float32)
    weights[np.arange(size), cell] = 1 - part
    weights[np.arange(size), cell + 1] = part
    return weights @ points @ weights.T


def _over(image: Array, colour: Array, cover: Array, where: NDArray[np.bool_] | None = None) -> Array:
    if where is not None:
        cover = cover * where
    return image + cover[..., None] * (colour - image)


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """HSV in [0, 1] as RGB, [..., 3]."""
    sector = np.mod(np.array([5, 3, 1], np.float32) + 6 * hue[..., None], 6)
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)
