"""The machine's own limits, measured on registers alone."""

from dataclasses import dataclass

from xnorlit.bench.figures import Figure
from xnorlit.bench.turns import Call, by_turns
from xnorlit.packed import _kernels

LOOPS = ("floats", "bits", "tile")
SPIN_SECONDS = 5e-4


@dataclass(frozen=True)
class Limits:
    """Multiply-adds per second of one core, by kernels; the best of the rounds, since a limit is a maximum.

    Attributes:
        floats: A loop of fp32 multiply-adds on registers alone.
        bits: The same for the kernels' counting instructions, counting a binary product as a multiply-add.
        tile: The inner kernel on a tile in the first-level cache.
        tile_over_floats: `tile` over the best `floats` of the machine, round by round.
    """

    floats: dict[str, float]
    bits: dict[str, float]
    tile: dict[str, float]
    tile_over_floats: dict[str, Figure]

    @property
    def fp32(self) -> float:
        """The core's fp32 peak, with the best instructions."""
        return max(self.floats.values())


def measure_limits(paths: list[str], rounds: int) -> Limits:
    """The limits of each set of kernels.

    Args:
        paths: Names of kernels that this processor supports.
        rounds: Rounds; each loop runs for half a millisecond in each.
    """
    loops = [(path, what) for path in paths for what in LOOPS]
    calls: dict[str, Call] = {}
    done: dict[str, int] = {}
    for path, what in loops:
        length = _long_enough(path, what)
        calls[f"{path} {what}"] = lambda path=path, what=what, length=length: _kernels.spin(path, what, length)
        done[f"{path} {what}"] = _kernels.spin(path, what, length)
    seconds = by_turns(calls, rounds).steady
    best = {what: {path: done[f"{path} {what}"] / min(seconds[f"{path} {what}"]) for path in paths} for what in LOOPS}
    fastest = max(best["floats"], key=lambda path: best["floats"][path])
    reference = f"{fastest} floats"
    over = {
        path: Figure.of(
            [
                (done[f"{path} tile"] / tile) / (done[reference] / floats)
                for tile, floats in zip(seconds[f"{path} tile"], seconds[reference], strict=True)
            ]
        )
        for path in paths
    }
    return Limits(best["floats"], best["bits"], best["tile"], over)


def _long_enough(path: str, what: str) -> int:
    """Rounds of a loop that last about `SPIN_SECONDS`."""
    length = 64
    while _seconds(path, what, length) < SPIN_SECONDS:
        length *= 2
    return length


def _seconds(path: str, what: str, length: int) -> float:
    return by_turns({"": lambda: _kernels.spin(path, what, length)}, 1).steady[""][0]
