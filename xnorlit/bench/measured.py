"""Everything that one run measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from xnorlit.bench.cold_start import ColdStart
from xnorlit.bench.figures import Figure
from xnorlit.bench.limits import Limits
from xnorlit.bench.memory import Memory
from xnorlit.bench.row import Row


@dataclass(frozen=True)
class Measured:
    """The figures without verdicts.

    Attributes:
        limits: Limits of the machine.
        rows: Rows of the layers and the network.
        memory: Bytes in files and in memory.
        cold_start: Times of whole processes.
    """

    limits: Limits
    rows: Sequence[Row]
    memory: Memory
    cold_start: ColdStart

    def over(self, opponent: str, ours: str, part: str, batch: int, threads: int) -> Figure | None:
        """How many times longer an opponent takes; None if that row or side was not measured."""
        row = self.row(part, batch, threads)
        return row and row.over(opponent, ours)

    def layers(self, batch: int, threads: int) -> list[Row]:
        """The rows of single layers."""
        return [row for row in self.rows if row.macs and (row.batch, row.threads) == (batch, threads)]

    def row(self, part: str, batch: int, threads: int) -> Row | None:
        """The row, unless it was not measured."""
        found = (row for row in self.rows if (row.part, row.batch, row.threads) == (part, batch, threads))
        return next(found, None)
