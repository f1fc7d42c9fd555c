"""Which runs stand against which: arms, the reference among them, and their seeds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xnorlit.comparison.difference import binarizers, difference
from xnorlit.errors import UserError
from xnorlit.runs import Run

_SEEDS = ("seed_everything", "data.seed")


@dataclass(frozen=True)
class Match:
    """An arm against the reference: `runs[i]` stands against `twins[i]`."""

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
    """Sorts runs into arms and pairs their seeds.

    The reference is the float twin: the arm whose every binarizer is Float; its column comes last. Without one it is
    the first arm, so that the gap of two binary arms is first minus second.

    Args:
        runs: Two or more runs.
        strict: Whether a run without a counterpart is an error (runs named by hand) or a note (runs found).

    Raises:
        UserError: One arm only, a run given twice, seeds that do not pair up, or an arm trained in several ways.
    """
    arms = _arms(runs)
    if len(arms) < 2:
        raise UserError(
            f"All runs given are of the arm {next(iter(arms))}; two arms were expected, such as xnor and float. "
            "Give a run of each, or train the other one (make train-xnor, make train-float)."
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
                raise UserError(f"{problem}. Give each arm's runs with the same seeds, or one run of each arm.")
            notes.append(f"{problem}: {_seeds(match.runs) if match.runs else 'nothing'} of {arm} is compared.")
        if match.runs:
            matches.append(match)
    paired = {match.arm: match.runs for match in matches}
    twins = {run.path: run for match in matches for run in match.twins}
    paired[reference] = tuple(sorted(twins.values(), key=lambda run: run.place.seed))
    if not matches:
        raise UserError("\n".join([*notes, "No two arms have a seed in common: nothing can be compared."]))
    for label, of_arm in paired.items():
        _check_trained_alike(label, of_arm)
    return Pairing({label: paired[label] for label in arms if label in paired}, reference, tuple(matches), tuple(notes))


def _arms(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    """The runs by arm; two runs of one arm given by hand are two arms, told apart by what differs in their place."""
    repeated = [path for path, times in Counter(run.path.resolve() for run in runs).items() if times > 1]
    if repeated:
        raise UserError(f"{repeated[0]} was given twice; two different runs were expected.")
    arms: dict[str, list[Run]] = defaultdict(list)
    label = _label_of_two(runs) if len(runs) == 2 else _label_of_many(runs)
    for run in runs:
        arms[label(run)].append(run)
    for name, of_arm in arms.items():
        seeds = Counter(run.place.seed for run in of_arm)
        if len(seeds) < len(of_arm):
            twice = " and ".join(str(run.path) for run in of_arm if seeds[run.place.seed] > 1)
            raise UserError(f"{name} was given twice with one seed: {twice}. Give one of them.")
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
    if len(floats) == len(arms):  # nothing but float networks: as with binary ones, the first
        return next(iter(arms))
    if len(floats) > 1 and "float" not in floats:
        raise UserError(
            f"Several arms are float networks: {', '.join(floats)}. Give two runs, to say which to compare."
        )
    return "float" if "float" in floats else (floats or list(arms))[0]


def _is_float(run: Run) -> bool:
    return set(binarizers(run.flat_config).values()) == {"Float"}


def _match(arm: str, runs: tuple[Run, ...], twins: tuple[Run, ...], strict: bool) -> tuple[Match, bool]:
    """The runs that have a twin with their seed, and whether any run or twin has none."""
    if strict and len(runs) == len(twins) == 1:  # named by hand: their seeds may differ, and the difference says so
        return Match(arm, runs, twins), False
    by_seed = {twin.place.seed: twin for twin in twins}
    paired = tuple(run for run in runs if run.place.seed in by_seed)
    match = Match(arm, paired, tuple(by_seed[run.place.seed] for run in paired))
    return match, len(paired) < len(runs) or len(paired) < len(twins)


def _seeds(runs: Sequence[Run]) -> str:
    return f"seed {', '.join(str(run.place.seed) for run in runs)}"


def _check_trained_alike(arm: str, runs: tuple[Run, ...]) -> None:
    """A mean over seeds is of one training repeated: nothing but the seed may differ within an arm."""
    first: Run = runs[0]
    for run in runs[1:]:
        keys = difference(first.flat_config, run.flat_config, same=_SEEDS).keys
        if keys:
            listed = ", ".join(f"{item.key} ({item.arm} and {item.reference})" for item in keys)
            raise UserError(
                f"The seeds of {arm} were not trained alike, so they have no mean: {_name(first.path)} and "
                f"{_name(run.path)} differ in {listed}. Give two runs to compare one seed alone."
            )


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
