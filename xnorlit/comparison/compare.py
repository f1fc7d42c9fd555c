"""Comparisons of named runs, of a named pair, or of the newest pair."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorlit.comparison import statistics
from xnorlit.comparison.classes import class_gaps
from xnorlit.comparison.comparison import AccuracyGap, Arm, Comparison, Gap, Mean, PartGap, SeedGap, SeedResult
from xnorlit.comparison.difference import between, binarizers
from xnorlit.comparison.images import evaluated_differently
from xnorlit.comparison.notes import notes_on
from xnorlit.comparison.pairing import Match, Pairing, pairing
from xnorlit.errors import UserError
from xnorlit.runs import Run, newest_pair, read


def compare(
    runs: Sequence[Run | Path | str] | Run | Path | str = (),
    *,
    root: Path | str = Path("runs"),
    experiment: str | None = None,
    pair: str | None = None,
    strict: bool = True,
) -> Comparison:
    """Compare two or more runs. Several seeds of an arm become one column of means.

    Args:
        runs: Runs of two or more arms, or their directories, in any order; or one pair, as `EXPERIMENT/PAIR` or its
            folder. Without runs, the newest pair under `root` is compared.
        root: Folder of all runs.
        experiment: Search only this experiment.
        pair: Search only pairs of this name.
        strict: Whether a named run without a counterpart is an error, not a note.

    Raises:
        UserError: There is nothing to compare or only one arm, the images or classes differ, an accuracy is NaN, the
            seeds do not pair up, or a file is damaged.

    Examples:
        >>> import xnorlit as xl
        >>> pair = xl.compare(["runs/synthetic/pair-0/xnor/seed-0", "runs/synthetic/pair-0/float/seed-0"])
        >>> print(pair.gap)  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
        xnor loses ... points of top-1 against float (95 % over images: ... to ...);
        packed it is ... times smaller
        >>> pair.matched
        True
    """
    runs = [runs] if isinstance(runs, Run | Path | str) else list(runs)
    if runs and (experiment or pair):
        raise UserError(
            "runs or a pair were given together with --experiment or --pair, which search for runs. Expected one or "
            "the other."
        )
    if len(runs) > 1:
        return _compared([run if isinstance(run, Run) else read(Path(run)) for run in runs], strict)
    if runs:
        root, experiment, pair = _pair(runs[0], Path(root))
    found = newest_pair(Path(root), experiment=experiment, pair=pair)
    comparison = _compared(found.runs, strict=False)
    return replace(comparison, notes=(*found.left_out, *comparison.notes))


def _pair(what: Run | Path | str, root: Path) -> tuple[Path, str | None, str | None]:
    """The root, experiment and pair that one argument names."""
    path = what.path if isinstance(what, Run) else Path(what)
    if (path / "config.yaml").exists() or (path / "summary.json").exists():
        raise UserError(f"only one run was given: {path}. Expected two or more, or a pair: {path.parent.parent}.")
    if path.is_dir() and any(path.glob("*/seed-*")):
        full = path.resolve()
        return full.parent.parent, full.parent.name, full.name
    if not root.is_dir():
        raise UserError(f"{what} is not a pair's folder, and there is no folder of runs at {root}.")
    experiment, _, pair = str(what).rpartition("/")
    return root, experiment or None, pair or None


def _compared(runs: Sequence[Run], strict: bool) -> Comparison:
    paired = pairing(runs, strict=strict)
    used = [run for of_arm in paired.arms.values() for run in of_arm]
    for run in used:
        _check_accuracy(run)
        _check_same_images(used[0], run)
    predictions = used[0].predictions
    return Comparison(
        experiment=_shared(run.place.experiment for run in used),
        pair=_shared(run.place.pair for run in used),
        reference=paired.reference,
        source=predictions.source,
        synthetic=any(run.summary.synthetic for run in used),
        split=predictions.split,
        images=len(predictions),
        classes=len(predictions.classes),
        listing_sha256=predictions.listing_sha256,
        arms=tuple(_arm(label, of_arm) for label, of_arm in paired.arms.items()),
        gaps=tuple(_gap(match, paired) for match in paired.matches),
        notes=(*paired.notes, *notes_on(paired)),
        runs=paired.arms,
    )


def _check_accuracy(run: Run) -> None:
    summary = run.summary
    for name in ("top1", "top5", "best_top1"):
        if math.isnan(getattr(summary, name)):
            raise UserError(
                f"{run.path / 'summary.json'}: {name} is NaN, because the run diverged. Expected a number. Lower the "
                "learning rate and train the run again."
            )
    if summary.classes != len(run.predictions.classes):
        raise UserError(
            f"{run.path} has {summary.classes} classes in summary.json but {len(run.predictions.classes)} in "
            "predictions.safetensors. Expected the same number. Train the run again."
        )


def _check_same_images(first: Run, other: Run) -> None:
    if problem := evaluated_differently(first, other):
        raise UserError(
            f"{first.path} and {other.path} were evaluated {problem}. A gap needs the same images in the same order. "
            "Train both arms with the same DATA."
        )


def _arm(label: str, runs: tuple[Run, ...]) -> Arm:
    seeds = tuple(_seed_result(run) for run in runs)
    summary, names = runs[0].summary, binarizers(runs[0].flat_config)
    return Arm(
        label=label,
        binarizer=", ".join(dict.fromkeys(names.values())),
        top1_percent=_mean([seed.top1_percent for seed in seeds]),
        top5_percent=_mean([seed.top5_percent for seed in seeds]),
        train_seconds=_mean([seed.train_seconds for seed in seeds]),
        step_seconds=_mean([seed.step_seconds for seed in seeds]),
        parameters=summary.parameters,
        binary_parameters=summary.binary_parameters,
        bits_per_binary_weight=summary.bits_per_binary_weight,
        float_bits=summary.float_bits,
        packed_bits=summary.packed_bits,
        seeds=seeds,
    )


def _seed_result(run: Run) -> SeedResult:
    right = run.predictions.correct(1)
    interval = statistics.wilson_interval(int(right.sum()), len(right))
    return SeedResult(
        seed=run.place.seed,
        run=str(run.path),
        epochs=run.summary.epochs,
        top1_percent=100 * float(right.mean()),
        top1_interval=_percent(interval),
        top5_percent=100 * float(run.predictions.correct(5).mean()),
        best_top1_percent=100 * run.summary.best_top1,
        best_epoch=run.summary.best_epoch,
        train_seconds=run.summary.train_seconds,
        step_seconds=run.summary.step_seconds,
    )


def _gap(match: Match, paired: Pairing) -> Gap:
    arm, twin = match.runs[0].summary, match.twins[0].summary
    alike = len({run.environment.machine for run in (*match.runs, *match.twins)}) == 1
    twins_right, arms_right = _right(match, 1)
    predictions = match.runs[0].predictions
    bits, whole = arm.bits_per_binary_weight, twin.packed_bits == twin.float_bits
    return Gap(
        arm=match.arm,
        reference=paired.reference,
        difference=between(match.runs[0], match.twins[0]),
        top1=_accuracy_gap(match, 1),
        top5=_accuracy_gap(match, 5),
        classes=class_gaps(twins_right, arms_right, predictions.label, predictions.classes),
        parts=tuple(
            PartGap(images, 100 * points, _percent(interval))
            for images, points, interval in statistics.by_number_of_images(twins_right, arms_right)
        ),
        train_time_factor=_time_factor(match, "train_seconds") if alike else None,
        step_time_factor=_time_factor(match, "step_seconds") if alike else None,
        binary_weights_factor=32 / bits if bits and whole else None,
        packed_size_factor=twin.packed_bits / arm.packed_bits,
    )


def _right(match: Match, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the true class is among the k most likely, [seeds, images]: for the twins, then for the arm."""
    twins, arms = (np.stack([run.predictions.correct(k) for run in runs]) for runs in (match.twins, match.runs))
    return twins, arms


def _accuracy_gap(match: Match, k: int) -> AccuracyGap:
    twins, arms = _right(match, k)
    seeds = tuple(_seed_gap(run, twin, k) for run, twin in zip(match.runs, match.twins, strict=True))
    points = [seed.points for seed in seeds]
    return AccuracyGap(
        points=100 * statistics.gap(twins, arms),
        spread=statistics.spread(points),
        over_images=_percent(statistics.gap_interval(twins, arms)),
        over_seeds=statistics.seed_interval(points),
        over_both=_percent(both) if (both := statistics.gap_interval_of_both(twins, arms)) else None,
        seeds=seeds,
    )


def _seed_gap(run: Run, twin: Run, k: int) -> SeedGap:
    reference, arm = twin.predictions.correct(k), run.predictions.correct(k)
    only_reference, only_arm = statistics.disagreements(reference, arm)
    return SeedGap(
        seed=run.place.seed,
        reference_seed=twin.place.seed,
        points=100 * statistics.gap(reference, arm),
        only_reference=only_reference,
        only_arm=only_arm,
        mcnemar_p=statistics.mcnemar_p(reference, arm),
    )


def _time_factor(match: Match, name: str) -> float | None:
    arm, twin = (sum(getattr(run.summary, name) for run in runs) for runs in (match.runs, match.twins))
    return arm / twin if twin > 0 else None


def _mean(values: Sequence[float]) -> Mean:
    return Mean(float(np.mean(values)), statistics.spread(values))


def _percent(interval: statistics.Interval) -> statistics.Interval:
    return statistics.Interval(100 * interval.low, 100 * interval.high, interval.covers)


def _shared(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
