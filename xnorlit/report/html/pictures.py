"""The charts of a record, with the palette's colours."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from xnorlit.report.html import chart
from xnorlit.report.html.cited import Cited
from xnorlit.report.html.measured import measures
from xnorlit.report.palette import places

LAYER_AXES = {"flips": "% of weights", "saturated": "% of inputs", "dead": "% of channels"}
LAYER_TITLES = {
    "flips": "Share of the weights whose sign changed since the previous report",
    "saturated": "Share of the inputs outside −1 to 1, where a clipped estimator passes no gradient",
    "dead": "Share of the input channels whose sign or code is constant",
}


def colours(arms: Sequence[str], reference: str) -> dict[str, str]:
    """A CSS class for each arm; the reference always gets the first colour."""
    return {arm: f"arm-{place}" for arm, place in places(arms, reference).items()}


def pictures(record: Cited, colour: Mapping[str, str]) -> dict[str, Any]:
    """The page's charts by name; None for a chart without data.

    Args:
        record: The page's record.
        colour: CSS class of each arm.
    """
    found: dict[str, Any] = dict.fromkeys(("top1", "gap", "loss", "time"))
    metrics, gaps = record.curves.metrics, record.curves.gaps
    if "val/top1" in metrics.value:
        found["top1"] = chart.lines(
            "Validation top-1 by epoch",
            "One line per arm: the mean over its seeds. Thin lines are single seeds.",
            _arm_lines(metrics["val/top1"], colour, seeds=True),
            x="epoch", y="top-1 %", scale=100,
        )  # fmt: skip
    if len(gaps):
        found["gap"] = chart.lines(
            "Gap in validation top-1 by epoch",
            "Reference minus arm in points: mean over seeds, with a band from the smallest to the largest.",
            [
                chart.Line(
                    f"{gap.reference} − {gap.arm}", colour[gap.arm.value], gap.epoch.value, gap["value"].value,
                    gap.pointer, least=gap.least.value, most=gap.most.value,
                )
                for gap in gaps
            ],
            x="epoch", y="points", zero=True,
        )  # fmt: skip
    kinds = {"val/loss": "mean", "train/loss_epoch": "dashed"}
    losses = [name for name in kinds if name in metrics.value]
    if losses:
        found["loss"] = chart.lines(
            "Loss by epoch",
            "Validation as solid lines, training as dashed lines; means over seeds.",
            [
                line
                for name, kind in kinds.items()
                if name in losses
                for line in _arm_lines(metrics[name], colour, kind=kind, of=f", {name.partition('/')[0]}")
            ],
            x="epoch", y="loss",
        )  # fmt: skip
    found["layers"] = [_layers(arm) for arm in record.layers]
    return found | _frontiers(record, colour)


def _arm_lines(
    metric: Cited, colour: Mapping[str, str], *, seeds: bool = False, kind: str = "mean", of: str = ""
) -> list[chart.Line]:
    found = []
    for arm in metric:
        runs, mean = metric[arm].seeds, metric[arm].mean
        if seeds and len(runs) > 1:
            found += [
                chart.Line(
                    f"{arm}, seed {run.seed}", colour[arm], run.epoch.value, run["value"].value, run.pointer, "seed"
                )
                for run in runs
            ]
        found.append(chart.Line(f"{arm}{of}", colour[arm], mean.epoch.value, mean["value"].value, mean.pointer, kind))
    return found


def _layers(arm: Cited) -> dict[str, Any]:
    return {
        "arm": arm.arm.value,
        "seed": arm.seed.value,
        "charts": [
            (
                what,
                chart.lines(
                    f"{LAYER_TITLES[what]}: {arm.arm}",
                    "One line per layer.",
                    [
                        chart.Line(layer, f"layer-{i % 8}", line.epoch.value, line["value"].value, line.pointer)
                        for i, layer in enumerate(arm.what[what])
                        for line in (arm.what[what][layer],)
                    ],
                    x="epoch",
                    y=LAYER_AXES[what],
                    scale=100,
                    zero=True,
                ),
                [(layer, f"layer-{i % 8}") for i, layer in enumerate(arm.what[what])],
            )
            for what in arm.what
        ],
    }


def _frontiers(record: Cited, colour: Mapping[str, str]) -> dict[str, Markup]:
    arms = record.comparison.value["arms"]
    found = {"accuracy": _accuracies(record.comparison.value, colour)}
    sizes = [
        chart.Point(
            arm["label"] if arm["packed_bits"] == arm["float_bits"] else f"{arm['label']}, packed",
            colour[arm["label"]], arm["packed_bits"] / 2**23, arm["top1_percent"]["mean"],
        )
        for arm in arms
    ]  # fmt: skip
    found["memory"] = chart.points(
        "Accuracy against memory", "Each arm's mean top-1 accuracy over the memory of its weights.",
        sizes, x="MiB of weights", y="top-1 %",
    )  # fmt: skip
    times = cpu_times(record.value)
    if times:
        found["time"] = chart.points(
            "Accuracy against CPU time",
            "Each arm's mean top-1 accuracy over the time for one image on one thread.",
            [
                chart.Point(label, colour[label], ms["median"], top1, ms["lower"], ms["upper"])
                for label, seconds, top1 in times
                for ms in ({key: 1000 * value for key, value in seconds.items()},)
            ],
            x="ms per image, one thread", y="top-1 %",
        )  # fmt: skip
    return found


def _accuracies(comparison: Mapping[str, Any], colour: Mapping[str, str]) -> Markup:
    """Each arm's accuracy, with the deciding interval of its gap measured from the reference's mean.

    That mean covers the shared seeds only, so it agrees with the gap even if the reference has more seeds.
    """
    gaps = {gap["arm"]: gap["top1"] for gap in comparison["gaps"]}
    found = []
    for arm in comparison["arms"]:
        mean, gap = arm["top1_percent"]["mean"], gaps.get(arm["label"])
        against = mean + gap["points"] if gap else mean
        interval = gap[gap["deciding"]] if gap else None
        ends = (against - interval["high"], against - interval["low"]) if interval else (None, None)
        seeds = [seed["top1_percent"] for seed in arm["seeds"]]
        found.append(chart.Estimate(arm["label"], colour[arm["label"]], mean, seeds, against, *ends))
    return chart.estimates(
        "Accuracy with intervals",
        f"Each arm's mean top-1 accuracy, its seeds, and the 95 % interval of its gap to {comparison['reference']}.",
        found, x="top-1 %",
    )  # fmt: skip


def cpu_times(record: Mapping[str, Any]) -> list[tuple[str, dict[str, float], float]]:
    """(arm, seconds per image on one thread, top-1 in percent); empty for an unusable bench or another network."""
    bench, comparison = record["bench"], record["comparison"]
    if not bench or not measures(bench, record):
        return []
    row = next((r for r in bench["rows"] if is_alone(r)), None)
    if row is None or is_scattered(row):
        return []
    return [
        (arm["label"], row[time], arm["top1_percent"]["mean"]) for arm in comparison["arms"] if (time := time_of(arm))
    ]


def is_alone(row: Mapping[str, Any]) -> bool:
    """Whether a row of the bench measured the whole network with fp32 ends, one image and one thread."""
    return (row["part"], row["batch"], row["threads"], row["ends"]) == ("network", 1, 1, "float")


def is_scattered(row: Mapping[str, Any]) -> bool:
    """Whether the median of the rounds' ratios contradicts the ratio of the median times.

    On an idle machine they agree within a few percent. Otherwise neither the ratio nor the times are reliable.
    """
    return not 0.75 < row["ratio"]["median"] / row["of_medians"] < 1.35


def time_of(arm: Mapping[str, Any]) -> Literal["fp32_seconds", "seconds"] | None:
    """Which time of the bench is an arm's: torch's in fp32 for a float network, the packed one for one-bit inputs."""
    if set(arm["binarizer"].split(", ")) == {"Float"}:
        return "fp32_seconds"
    return "seconds" if is_one_bit(arm) else None


def is_one_bit(arm: Mapping[str, Any]) -> bool:
    """Whether an arm also has one-bit inputs, as XNOR does, so that the bench of the packed network applies to it."""
    return arm["binarizer"].split(", ")[0] == "XNOR"
