"""Pairing of runs: sort them into arms, choose the reference, match seeds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xnorlit.comparison.difference import SEEDS, between, binarizers
from xnorlit.errors import UserError
from xnorlit.runs import Run


@dataclass(frozen=True)
class Match:
    """An arm against the reference: `runs[i]` is compared with `twins[i]`."""

    arm: str
    runs: tuple[Run, ...]
    twins: tuple[Run, ...]


@dataclass(frozen=True)
class Pairing:
    """Arms by label in the order of their columns, the reference's label, and the matches against it."""

    arms: dict[str, tuple[Run, ...]]
    reference: str
    matches: tuple[Match, ...]
    notes: tuple[str, ...]


def pairing(runs: Sequence[Run], *, strict: bool) -> Pairing:
    """Sort runs into arms and pair their seeds.

    The reference is the float twin: the arm with only Float binarizers. Its column comes last. Without a float twin,
    the reference is the first arm, so the gap of two binary arms is first minus second.

    Args:
        runs: Two or more runs.
        strict: Whether a run without a counterpart is an error (named runs) or a note (found runs).

    Raises:
        UserError: There is only one arm, a run is given twice, the seeds do not pair up, or the runs of an arm were
            trained differently.
    """
    arms = _arms(runs)
    if len(arms) < 2:
        raise UserError(
            f"all runs belong to the arm {next(iter(arms))}. Expected two arms, such as xnor and float. "
            "Give a run of each, or train the other arm (xnorlit train ARM --seed N)."
        )
    reference = _reference(arms)
    if _is_float(arms[reference][0]):
        arms[reference] = arms.pop(reference)
    notes: list[str] = []
    matches = []
    for arm in [label for label in arms if label != reference]:
        match, unpaired = _match(arm, arms[arm], arms[reference], strict)
        if unpaired:
            problem = f"{arm} ({_seeds(arms[arm])}) and {reference} ({_seeds(arms[reference])}) do not pair up"
            if strict:
                raise UserError(f"{problem}. Give runs with the same seeds for each arm, or one run of each arm.")
            compared = f"only {_seeds(match.runs)}" if match.runs else "no run"
            notes.append(f"{problem}: {compared} of {arm} is compared.")
        if match.runs:
            matches.append(match)
    paired = {match.arm: match.runs for match in matches}
    twins = {run.path: run for match in matches for run in match.twins}
    paired[reference] = tuple(sorted(twins.values(), key=lambda run: run.place.seed))
    if not matches:
        raise UserError("\n".join([*notes, "No two arms share a seed, so there is nothing to compare."]))
    for label, of_arm in paired.items():
        _check_trained_alike(label, of_arm)
    return Pairing({label: paired[label] for label in arms if label in paired}, reference, tuple(matches), tuple(notes))


def _arms(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    """The runs by arm. Two given runs of one arm count as two arms, labelled by the part of their path that differs."""
    repeated = [path for path, times in Counter(run.path.resolve() for run in runs).items() if times > 1]
    if repeated:
        raise UserError(f"{repeated[0]} was given twice. Expected different runs.")
    arms: dict[str, list[Run]] = defaultdict(list)
    label = _label_of_two(runs) if len(runs) == 2 else _label_of_many(runs)
    for run in runs:
        arms[label(run)].append(run)
    for name, of_arm in arms.items():
        seeds = Counter(run.place.seed for run in of_arm)
        if len(seeds) < len(of_arm):
            twice = " and ".join(str(run.path) for run in of_arm if seeds[run.place.seed] > 1)
            raise UserError(f"{name} has two runs with the same seed: {twice}. Expected one of them.")
    return {name: tuple(sorted(of_arm, key=lambda run: run.place.seed)) for name, of_arm in arms.items()}


def _label_of_two(runs: Sequence[Run]) -> Callable[[Run], str]:
    ways: tuple[Callable[[Run], str], ...] = (
        lambda run: run.place.arm,
        lambda run: f"{run.place.arm}/seed-{run.place.seed}",
        lambda run: f"{run.place.pair}/{run.place.arm}",
        lambda run: f"{run.place.experiment}/{run.place.pair}/{run.place.arm}",
        lambda run: str(run.path),
    )
    return next(way for way in ways if way(runs[0]) != way(runs[1]))


def _label_of_many(runs: Sequence[Run]) -> Callable[[Run], str]:
    if len({run.place.group for run in runs}) == 1:
        return lambda run: run.place.arm
    return lambda run: f"{run.place.experiment}/{run.place.pair}/{run.place.arm}"


def _reference(arms: dict[str, tuple[Run, ...]]) -> str:
    floats = [label for label, runs in arms.items() if _is_float(runs[0])]
    if len(floats) == len(arms):  # only float networks: the first one, as with binary networks
        return next(iter(arms))
    if len(floats) > 1 and "float" not in floats:
        raise UserError(
            f"several arms are float networks: {', '.join(floats)}. Expected one. Give the two runs to compare."
        )
    return "float" if "float" in floats else (floats or list(arms))[0]


def _is_float(run: Run) -> bool:
    return set(binarizers(run.flat_config).values()) == {"Float"}


def _match(arm: str, runs: tuple[Run, ...], twins: tuple[Run, ...], strict: bool) -> tuple[Match, bool]:
    """The runs that have a twin with the same seed, and whether any run or twin remains unmatched."""
    if strict and len(runs) == len(twins) == 1:  # The seeds of two given runs may differ; the difference reports it.
        return Match(arm, runs, twins), False
    by_seed = {twin.place.seed: twin for twin in twins}
    paired = tuple(run for run in runs if run.place.seed in by_seed)
    match = Match(arm, paired, tuple(by_seed[run.place.seed] for run in paired))
    return match, len(paired) < len(runs) or len(paired) < len(twins)


def _seeds(runs: Sequence[Run]) -> str:
    return f"seed {', '.join(str(run.place.seed) for run in runs)}"


def _check_trained_alike(arm: str, runs: tuple[Run, ...]) -> None:
    """Check that only the seed differs within an arm. A mean over seeds needs identical settings."""
    first: Run = runs[0]
    for run in runs[1:]:
        keys = between(first, run, same=SEEDS).keys
        if keys:
            listed = ", ".join(f"{item.key} ({item.arm} and {item.reference})" for item in keys)
            raise UserError(
                f"the seeds of {arm} were trained with different settings, so they have no mean: {_name(first.path)} "
                f"and {_name(run.path)} differ in {listed}. To compare a single seed, give two runs."
            )


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
