"""One photo, from a cold process to the printed answer: `xnorlit classify` and the float twin in torch."""

from dataclasses import dataclass

from xnorlit.bench.figures import Figure


@dataclass(frozen=True)
class ColdStart:
    """Seconds of whole processes.

    Attributes:
        classify: `xnorlit classify FILE photo`; None where it was not measured.
        twin: The same photo by the float twin in torch.
        ratio: The twin's over ours, round by round.
        absent: Why it was not measured; "" where it was.
    """

    classify: Figure | None = None
    twin: Figure | None = None
    ratio: Figure | None = None
    absent: str = ""


def measure_cold_start() -> ColdStart:
    """The two processes by turns."""
    return ColdStart(absent="this version has no command classify")
