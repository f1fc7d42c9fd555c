"""A comparison as typed records with the fields of its JSON. Accuracies are in percent, gaps in points."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from xnorlit.comparison.classes import ClassGap
from xnorlit.comparison.difference import Difference
from xnorlit.comparison.paper import CLAIMS, UFES, Claim, PublishedPair
from xnorlit.comparison.statistics import Interval
from xnorlit.errors import UserError
from xnorlit.runs import Run

SCHEMA = 1
"""Incremented when a JSON field is removed or changes its meaning; new fields do not count."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with the standard deviation if there are several."""

    mean: float
    spread: float | None


@dataclass(frozen=True)
class SeedResult:
    """One run: validation accuracies of the weights after the last epoch."""

    seed: int
    run: str
    epochs: int
    top1_percent: float
    top1_interval: Interval
    top5_percent: float
    best_top1_percent: float
    best_epoch: int
    train_seconds: float
    step_seconds: float


@dataclass(frozen=True)
class Arm:
    """One column: an arm's means over its seeds. Sizes are in bits and cover all weights."""

    label: str
    binarizer: str
    top1_percent: Mean
    top5_percent: Mean
    train_seconds: Mean
    step_seconds: Mean
    parameters: int
    binary_parameters: int
    bits_per_binary_weight: float | None
    float_bits: int
    packed_bits: int
    seeds: tuple[SeedResult, ...]


@dataclass(frozen=True)
class SeedGap:
    """The gap of two runs; `only_reference` and `only_arm` count the images that only that run classifies correctly."""

    seed: int
    reference_seed: int
    points: float
    only_reference: int
    only_arm: int
    mcnemar_p: float


@dataclass(frozen=True)
class AccuracyGap:
    """Reference minus arm, in points, with 95 % intervals over images, over seeds, and over both."""

    points: float
    spread: float | None
    over_images: Interval
    over_seeds: Interval | None
    over_both: Interval | None
    seeds: tuple[SeedGap, ...]

    @property
    def deciding(self) -> Literal["over_both", "over_images"]:
        """The name of the interval that decides the verdict.

        With several seeds it is `over_both`. If that interval contains 0 but `over_images` does not, there are too few
        seeds for a verdict about other trainings. The verdict then covers only these trained networks.
        """
        both, images = self.over_both, self.over_images
        return "over_both" if both and (images.contains(0) or not both.contains(0)) else "over_images"

    @property
    def outcome(self) -> Literal["loses", "gains", "undecided"]:
        """Whether the arm loses or gains against the reference; undecided if the deciding interval contains 0."""
        interval: Interval = getattr(self, self.deciding)
        return "undecided" if interval.contains(0) else "loses" if interval.low > 0 else "gains"


@dataclass(frozen=True)
class PartGap:
    """The gap on a random subset of the images, in points, with its interval over images."""

    images: int
    points: float
    over_images: Interval


@dataclass(frozen=True)
class Gap:
    """An arm against the reference: how their configurations differ, what the arm loses and what it saves.

    `classes` and `parts` hold the top-1 gap by class and on smaller and smaller subsets of the images. A size factor is
    reference / arm: how many times smaller the arm is. A time factor is arm / reference: how many times longer the arm
    takes. A factor is None if a value is missing, or if the times come from different machines.
    """

    arm: str
    reference: str
    difference: Difference
    top1: AccuracyGap
    top5: AccuracyGap
    classes: tuple[ClassGap, ...]
    parts: tuple[PartGap, ...]
    train_time_factor: float | None
    step_time_factor: float | None
    binary_weights_factor: float | None
    packed_size_factor: float

    def __str__(self) -> str:
        top1 = self.top1
        interval: Interval = getattr(top1, top1.deciding)
        what = {
            "loses": f"loses {top1.points:.2f} points of top-1 against {self.reference}",
            "gains": f"gains {-top1.points:.2f} points of top-1 against {self.reference}",
            "undecided": f"cannot be distinguished from {self.reference}: a gap of {top1.points:.2f} points of top-1",
        }[top1.outcome]
        return (
            f"{self.arm} {what} (95 % over {interval.covers}: {interval.low:.2f} to {interval.high:.2f}); packed it is "
            f"{self.packed_size_factor:.1f} times smaller"
        )


@dataclass(frozen=True)
class Comparison:
    """Two or more arms side by side, on the same validation images.

    `runs` holds each arm's runs in the order of its seeds, for callers that draw curves or show predictions. It is not
    part of the JSON.
    """

    experiment: str
    pair: str
    reference: str
    source: str
    synthetic: bool
    split: str
    images: int
    classes: int
    listing_sha256: str
    arms: tuple[Arm, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]
    published: PublishedPair = UFES
    claims: tuple[Claim, ...] = CLAIMS
    schema: int = field(default=SCHEMA)
    runs: Mapping[str, tuple[Run, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def gap(self) -> Gap:
        """The gap of a pair: the arm against the reference.

        Raises:
            UserError: The comparison has several gaps.
        """
        if len(self.gaps) > 1:
            arms = ", ".join(gap.arm for gap in self.gaps)
            raise UserError(f"this comparison has several gaps ({arms}). Use an item of `gaps` instead of `gap`.")
        return self.gaps[0]

    def __str__(self) -> str:
        return "\n".join(map(str, self.gaps))

    @property
    def matched(self) -> bool:
        """Whether only the binarizer differs, in every gap."""
        return all(gap.difference.kind == "matched" for gap in self.gaps)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON types, with each gap's verdict, outcome and deciding interval."""
        record = asdict(replace(self, runs={}))
        del record["runs"]
        record["matched"] = self.matched
        for gap, written in zip(self.gaps, record["gaps"], strict=True):
            written["difference"]["verdict"] = gap.difference.verdict
            for name, accuracy in (("top1", gap.top1), ("top5", gap.top5)):
                written[name] |= {"deciding": accuracy.deciding, "outcome": accuracy.outcome}
        return record
