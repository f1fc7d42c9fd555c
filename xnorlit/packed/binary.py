"""Single binary layers: the sums of a convolution or a matrix product of signs, outside of a network."""

import threading

import numpy as np

from xnorlit.packed import _kernels
from xnorlit.packed.isa import chosen_isa
from xnorlit.packed.threads import checked_threads


def pack_signs(values: np.ndarray) -> np.ndarray:
    """Pack signs along the last axis into bits, uint8 `[..., ceil(C / 8)]`: 1 where `values >= 0`, lowest bit first.

    Args:
        values: Real numbers, `[..., C]`.

    Raises:
        TypeError: `values` is not an array of real numbers.
        ValueError: `values` has no axis.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fi":
        raise TypeError(f"values: expected a numpy array of floats or signed integers, found {_what(values)}")
    if not values.ndim:
        raise ValueError("values: expected at least one axis, found a single number")
    return np.packbits(values >= 0, axis=-1, bitorder="little")


class BinaryConv:
    """`y = sign(x) (*) sign(W)`, optionally times a scale: `[N, H, W, C] -> [N, H', W', O]`.

    `sign(0) = +1`. Zero padding adds nothing to a sum. The layer keeps one bit per weight, prepared for one image size
    at a time; another size prepares it again. It is thread-safe.

    Args:
        weight: Floats or signed integers whose signs are used, `[O, kh, kw, C / groups]`.
        stride: Stride, as (vertical, horizontal) or one number for both.
        padding: Zeros on each side, likewise; less than the kernel.
        groups: Number of channel groups, each convolved separately.
        scale: Factor of each output channel, `[O]`; results are float32 with a scale, int32 without.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong shape, or does not fit the others.
    """

    def __init__(
        self,
        weight: np.ndarray,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        scale: np.ndarray | None = None,
    ) -> None:
        bits = pack_signs(_array("weight", weight, "fi", 4))
        if not weight.size:
            raise ValueError(f"weight: expected at least one value, found the shape {list(weight.shape)}")
        self._window = [*weight.shape[1:3], *_pair("stride", stride, 1), *_pair("padding", padding, 0)]
        if any(zeros >= side for zeros, side in zip(self._window[4:], weight.shape[1:3], strict=True)):
            raise ValueError(f"padding: expected less than the kernel {list(weight.shape[1:3])}, found {padding}")
        if not isinstance(groups, int) or isinstance(groups, bool):
            raise TypeError(f"groups: expected a whole number, found {groups!r}")
        if groups < 1 or len(weight) % groups:
            raise ValueError(f"groups: expected a divisor of {len(weight)} outputs, found {groups}")
        if scale is not None and _array("scale", scale, "f", 1).shape != (len(weight),):
            raise ValueError(f"scale: expected the shape [{len(weight)}], found {list(scale.shape)}")
        self._bits, self._groups, self._outputs = np.ascontiguousarray(bits[None]), groups, len(weight)
        self._channels = groups * weight.shape[3]
        self._scale = None if scale is None else np.ascontiguousarray(scale, np.float32)
        self._lock = threading.Lock()
        self._engines: dict[tuple[int, int, bool], _kernels.Engine] = {}

    def __call__(self, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """The int32 sums, or the float32 scaled sums: `[N, H', W', O]`.

        Args:
            x: float32 `[N, H, W, C]` whose signs are used, or bits from `pack_signs`, uint8
                `[N, H, W, ceil(C / 8)]`; in any memory layout.
            threads: Number of threads, including the caller's; default: all processors of this process.

        Raises:
            TypeError: `x` is neither, or threads is not a whole number.
            ValueError: `x` has the wrong shape or is smaller than the kernel, or threads is out of range.
        """
        return self._run(_input(x, 4, self._channels, "[N, H, W, C]"), checked_threads(threads))

    def _run(self, x: np.ndarray, threads: int) -> np.ndarray:
        real = x.dtype == np.float32
        for side, kernel, zeros in zip(x.shape[1:3], self._window[:2], self._window[4:], strict=True):
            if side + 2 * zeros < kernel:
                raise ValueError(f"x: a side of {side} with padding {zeros} is smaller than the kernel's {kernel}")
        engine = self._engine(x.shape[1], x.shape[2], real)
        given = np.ascontiguousarray(x) if real else _words(x, self._channels, self._window[4:])
        y = np.empty((len(x), *engine.output_shape), np.int32 if self._scale is None else np.float32)
        engine.run(given, y.reshape(len(x), engine.output_elements), threads)
        return y

    def _engine(self, height: int, width: int, real: bool) -> _kernels.Engine:
        key = height, width, real
        with self._lock:
            if key not in self._engines:
                engine, shape = _kernels.Engine(chosen_isa()), [height, width, self._channels]
                if real:
                    engine.add_sign(shape)
                ending = _kernels.Ending.sums()
                if self._scale is not None:
                    one, zero = np.ones(1, np.float32), np.zeros_like(self._scale)
                    ending = _kernels.Ending.reals(scales=[self._scale], shifts=[zero], slopes=[one])
                frame = _kernels.Frame(shape=shape, window=self._window, groups=self._groups, outputs=self._outputs)
                weights = _kernels.Planes(self._bits, factors=[1], divisor=1)
                engine.add_binary(frame, _kernels.Operand("signs"), weights, ending)
                self._engines = {key: engine}
            return self._engines[key]


class BinaryLinear:
    """`y = sign(x) sign(W)^T`, optionally times a scale: `[N, I] -> [N, O]`; see `BinaryConv`.

    Args:
        weight: Floats or signed integers whose signs are used, `[O, I]`.
        scale: Factor of each output, `[O]`; results are float32 with a scale, int32 without.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong shape.
    """

    def __init__(self, weight: np.ndarray, *, scale: np.ndarray | None = None) -> None:
        self._conv = BinaryConv(_array("weight", weight, "fi", 2)[:, None, None], scale=scale)

    def __call__(self, x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """The int32 sums, or the float32 scaled sums: `[N, O]`.

        Args:
            x: float32 `[N, I]` whose signs are used, or bits from `pack_signs`, uint8 `[N, ceil(I / 8)]`.
            threads: See `BinaryConv`.

        Raises:
            TypeError: `x` is neither, or threads is not a whole number.
            ValueError: `x` has the wrong shape, or threads is out of range.
        """
        x = _input(x, 2, self._conv._channels, "[N, I]")
        return self._conv._run(x[:, None, None], checked_threads(threads))[:, 0, 0]


def _input(x: np.ndarray, rank: int, channels: int, form: str) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.uint8):
        raise TypeError(f"x: expected a numpy array of float32, or of uint8 from pack_signs, found {_what(x)}")
    last = channels if x.dtype == np.float32 else (channels + 7) // 8
    if x.ndim != rank or x.shape[-1] != last or 0 in x.shape[1:]:
        raise ValueError(f"x: expected the shape {form[:-2]}{last}] of {x.dtype}, found {list(x.shape)}")
    return x


def _words(octets: np.ndarray, channels: int, padding: list[int]) -> np.ndarray:
    """Bits as the engine's map, `[N, words]`: rows of whole words, with a zero border and no bits past the channels."""
    border = [(0, 0), *((zeros, zeros) for zeros in padding), (0, -octets.shape[3] % 4)]
    whole = np.pad(np.ascontiguousarray(octets), border)  # np.pad keeps the order of memory
    words = whole.shape[1] * whole.shape[2] * whole.shape[3] // 4
    if channels % 8:
        whole[..., octets.shape[3] - 1] &= (1 << channels % 8) - 1
    return whole.view("<u4").astype(np.uint32, copy=False).reshape(len(whole), words)


def _array(name: str, values: np.ndarray, kinds: str, rank: int) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
        wanted = "floats or signed integers" if "i" in kinds else "floats"
        raise TypeError(f"{name}: expected a numpy array of {wanted}, found {_what(values)}")
    if values.ndim != rank:
        raise ValueError(f"{name}: expected {rank} dimensions, found the shape {list(values.shape)}")
    return values


def _pair(name: str, given: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int) else given
    whole = isinstance(pair, tuple) and len(pair) == 2
    if not whole or not all(isinstance(one, int) and not isinstance(one, bool) for one in pair):
        raise TypeError(f"{name}: expected a whole number or two, found {given!r}")
    if min(pair) < least:
        raise ValueError(f"{name}: expected {least} or more, found {given!r}")
    return pair


def _what(values: object) -> str:
    return f"an array of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
