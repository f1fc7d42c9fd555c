"""A pair's own W&B run: the gap by epoch, and sizes and times by arm.

W&B's panels draw what runs logged, and an expression cannot combine values of two runs. So the gap of two runs can be
drawn only if a run logs it. Adding it to a training run would change the record of a training. A custom chart over an
uploaded table would hide the numbers from W&B's axes, smoothing and exports. Therefore each pair has one run of job
type `comparison`, whose notes say that it trained nothing. Its rows come from `curves.gaps` and `comparison.arms` of
the HTML page's record. Its id depends only on the pair, so a new upload replaces the old one.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xnorlit.report.html.pictures import cpu_times
from xnorlit.runs.wandb import COMPARISON

Record = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """A pair's own run.

    Args:
        pair: `EXPERIMENT/PAIR`.
        rows: By epoch, counted from 0 as training logs it: `{"epoch": 0, "gap/xnor": points, ...}`.
        bars: Single values by their names, `packed/xnor`.
    """

    pair: str
    rows: list[dict[str, float]]
    bars: dict[str, float]

    @property
    def id(self) -> str:
        """W&B's id of the run: the same for the same pair, on any machine."""
        return f"{COMPARISON}-{_digest(self.pair)[:12]}"

    @property
    def contents(self) -> str:
        """A digest of the run's contents: an unchanged run is not uploaded again."""
        return _digest([self.pair, self.rows, self.bars])


def figures(record: Record) -> Figures:
    """The run of a pair's record.

    Args:
        record: The page's record, of `xnorlit.report.html.record`.
    """
    rows: dict[int, dict[str, float]] = {}
    for gap in record["curves"]["gaps"]:
        for number, epoch in enumerate(gap["epoch"]):
            row = rows.setdefault(epoch - 1, {"epoch": epoch - 1})
            for name, key in zip(gap_names(gap["arm"]), ("value", "least", "most"), strict=True):
                if gap[key][number] is not None:  # A loss that became NaN leaves a gap in the curve.
                    row[name] = gap[key][number]
    return Figures(
        pair=f"{record['comparison']['experiment']}/{record['comparison']['pair']}",
        rows=[rows[epoch] for epoch in sorted(rows)],
        bars={bar_name(kind, arm): value for kind in _BARS for arm, value in bars(record, kind)},
    )


def gap_names(arm: str) -> tuple[str, str, str]:
    """The logged names of the gap's mean, smallest and largest value over seeds."""
    return f"gap/{arm}", f"gap/{arm}/least", f"gap/{arm}/most"


def bar_name(kind: str, arm: str) -> str:
    """The logged name of an arm's size or time."""
    return f"{kind}/{arm}"


def bars(record: Record, kind: str) -> list[tuple[str, float]]:
    """(arm, value) of each arm that has one: MiB of weights, ms per step, minutes of training, ms per image.

    Only the arms that a bench measured have a time per image.

    Args:
        record: The page's record, of `xnorlit.report.html.record`.
        kind: One of `xnorlit.report.wandb.settings.BARS`.
    """
    return list(_BARS[kind](record))


def _arms(field: Any) -> Any:
    def of_arms(record: Record) -> Iterator[tuple[str, float]]:
        return ((arm["label"], field(arm)) for arm in record["comparison"]["arms"])

    return of_arms


def _image(record: Record) -> Iterator[tuple[str, float]]:
    return ((arm, 1000 * seconds["median"]) for arm, seconds, _ in cpu_times(record))


_BARS = {
    "packed": _arms(lambda arm: arm["packed_bits"] / 2**23),
    "trained": _arms(lambda arm: arm["float_bits"] / 2**23),
    "step": _arms(lambda arm: 1000 * arm["step_seconds"]["mean"]),
    "training": _arms(lambda arm: arm["train_seconds"]["mean"] / 60),
    "image": _image,
}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
