"""The limits of the machine, measured on registers."""

from dataclasses import dataclass

from xnorlit.bench.figures import Figure
from xnorlit.bench.turns import Call, by_turns
from xnorlit.packed import _kernels

LOOPS = ("floats", "bits", "tile")
SPIN_SECONDS = 5e-4


@dataclass(frozen=True)
class Limits:
    """Multiply-adds per second of one core, by kernels; the best of the rounds, because a limit is a maximum.

    Attributes:
        floats: A loop of fp32 multiply-adds on registers.
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


def measure_limits(isas: list[str], rounds: int) -> Limits:
    """The limits of each set of kernels.

    Args:
        isas: Names of kernels that this processor supports.
        rounds: Rounds; each loop runs for half a millisecond in each.
    """
    loops = [(isa, what) for isa in isas for what in LOOPS]
    calls: dict[str, Call] = {}
    done: dict[str, int] = {}
    for isa, what in loops:
        length = _long_enough(isa, what)
        calls[f"{isa} {what}"] = lambda isa=isa, what=what, length=length: _kernels.spin(isa, what, length)
        done[f"{isa} {what}"] = _kernels.spin(isa, what, length)
    seconds = by_turns(calls, rounds).steady
    best = {what: {isa: done[f"{isa} {what}"] / min(seconds[f"{isa} {what}"]) for isa in isas} for what in LOOPS}
    fastest = max(best["floats"], key=lambda isa: best["floats"][isa])
    reference = f"{fastest} floats"
    over = {
        isa: Figure.of(
            [
                (done[f"{isa} tile"] / tile) / (done[reference] / floats)
                for tile, floats in zip(seconds[f"{isa} tile"], seconds[reference], strict=True)
            ]
        )
        for isa in isas
    }
    return Limits(best["floats"], best["bits"], best["tile"], over)


def _long_enough(isa: str, what: str) -> int:
    """Rounds of a loop that last about `SPIN_SECONDS`."""
    length = 64
    while _seconds(isa, what, length) < SPIN_SECONDS:
        length *= 2
    return length


def _seconds(isa: str, what: str, length: int) -> float:
    return by_turns({"": lambda: _kernels.spin(isa, what, length)}, 1).steady[""][0]
