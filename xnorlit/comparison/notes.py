"""Notes that qualify the numbers of a comparison."""

from collections.abc import Iterable

import numpy as np

from xnorlit.comparison.pairing import Match, Pairing
from xnorlit.comparison.statistics import disagreements
from xnorlit.errors import UserError
from xnorlit.runs import Run

_FEW = 10
"""With fewer disagreements the bootstrap has too little to resample. This is a rule of thumb for the sign test."""


def notes_on(paired: Pairing) -> list[str]:
    """One sentence for each fact that qualifies the numbers, without repetitions."""
    runs = [run for of_arm in paired.arms.values() for run in of_arm]
    notes = [note for run in runs for note in _on_run(run)]
    notes += [note for match in paired.matches for note in _on_match(match, paired)]
    return list(dict.fromkeys(notes))


def _on_run(run: Run) -> list[str]:
    notes = []
    measured, reported = 100 * float(run.predictions.correct(1).mean()), 100 * run.summary.top1
    if abs(measured - reported) > 0.1:
        notes.append(
            f"{run.path}: top-1 is {reported:.2f} % in its summary but {measured:.2f} % in its predictions; the table "
            "shows the latter."
        )
    try:
        series_of = run.curves.series
    except UserError as error:  # The comparison does not need the curves: accuracies come from the predictions.
        return [*notes, f"{error} Its curves are missing; its accuracies and gaps come from its predictions."]
    reached = max((int(series.epoch[-1]) + 1 for series in series_of.values()), default=0)
    if reached < run.summary.epochs:
        notes.append(
            f"{run.path / 'metrics.csv'} is incomplete: it and the curves end in epoch {reached} of "
            f"{run.summary.epochs}."
        )
    for name, series in series_of.items():
        diverged = np.isnan(series.value)
        if diverged.any():
            notes.append(f"{run.path}: {name} is NaN from step {series.step[diverged][0]:,}.")
    return notes


def _on_match(match: Match, paired: Pairing) -> list[str]:
    notes = []
    arms = f"{match.arm} and {paired.reference}"
    environments = [run.environment for run in (*match.runs, *match.twins)]
    if len({environment.machine for environment in environments}) > 1:
        notes.append(f"{arms} were trained on different machines or thread counts, so their times are not compared.")
    if len({environment.backend for environment in environments}) > 1:
        notes.append(f"{arms} used different data loaders ({_listed(e.backend for e in environments)}).")
    if len({environment.commit for environment in environments}) > 1:
        commits = _listed((environment.commit or "unknown")[:9] for environment in environments)
        notes.append(f"{arms} were trained from different commits ({commits}).")
    if any(environment.dirty for environment in environments):
        notes.append(f"{arms}: at least one run was trained from code with uncommitted changes.")
    for package in ("torch", "pytorch-lightning", "xnorlit"):
        versions = {environment.packages.get(package, "none") for environment in environments}
        if len(versions) > 1:
            notes.append(f"{arms} were trained with different versions of {package} ({_listed(sorted(versions))}).")
    for run, twin in zip(match.runs, match.twins, strict=True):
        differ = sum(disagreements(twin.predictions.correct(1), run.predictions.correct(1)))
        if differ < _FEW:
            images = f"{differ} image{'s' if differ != 1 else ''}"
            notes.append(
                f"{arms} (seed {run.place.seed}) disagree on only {images}, too few for a reliable interval. "
                "Use McNemar's p."
            )
    return notes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
