"""Find runs under a root."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.place import Place, is_aside
from xnorlit.runs.run import BrokenRun, Run, read

_LISTED = 4
"""Number of broken runs of other pairs to list by name; the rest are only counted."""


@dataclass(frozen=True)
class Pair:
    """The comparable runs of one pair.

    Args:
        experiment: Name of the experiment.
        pair: Name of the pair.
        runs: Finished runs of at least two arms; each seed occurs in at least two arms.
        left_out: One sentence for each run of the pair, or of a newer pair, that is not in `runs`.
    """

    experiment: str
    pair: str
    runs: tuple[Run, ...]
    left_out: tuple[str, ...]


def find(root: Path | str) -> list[Run | BrokenRun]:
    """Every run under `root`, ordered by place. Broken and unfinished runs come with the reason.

    Runs that `--run.fresh` moved aside (`seed-0.until-<time>`) are not listed.

    Raises:
        UserError: There is no folder `root`.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder of runs at {root}. Train a pair first: xnorlit train xnor and float.")
    found: list[tuple[tuple, Run | BrokenRun]] = []
    for path in root.glob("*/*/*/seed-*"):
        # Names that begin with a dot belong to unfinished writes (xnorlit.edge.atomic) or to tools, never to a run.
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_dir() and not hidden and not is_aside(path):
            place = Place.of(path)
            key = (path.parent, place.seed if place else -1, path.name)
            found.append((key, _read_or_explain(path, place)))
    return [run for _, run in sorted(found, key=lambda item: item[0])]


def _read_or_explain(path: Path, place: Place | None) -> Run | BrokenRun:
    try:
        if place is None:
            raise UserError(f"{path} does not end in a number. Expected seed-0, seed-1, ...")
        return read(path)
    except UserError as error:
        unfinished = place is not None and not (path / "summary.json").exists()
        return BrokenRun(path, place, str(error), unfinished)


def newest(root: Path | str, *, with_codes: bool) -> Run:
    """The finished run that started last.

    Args:
        root: The folder of runs.
        with_codes: Skip float networks, which have nothing to pack.

    Raises:
        UserError: There is no such run; the message lists what exists.
    """
    found = find(root)
    finished = [run for run in found if isinstance(run, Run)]
    suitable = [run for run in finished if run.summary.has_codes or not with_codes]
    if suitable:
        return max(suitable, key=_started)
    kind = "finished run with binary layers" if with_codes else "finished run"
    lines = [f"{root} has no {kind}. Train one first: xnorlit train xnor."]
    lines += [f"  {run.path} has no binary layer." for run in finished]
    lines += [f"  {run.reason}" for run in found if isinstance(run, BrokenRun)]
    raise UserError("\n".join(lines))


def newest_pair(root: Path | str, *, experiment: str | None = None, pair: str | None = None) -> Pair:
    """The pair with the most recently started run, among pairs with two arms that finished with the same seed.

    Args:
        root: The folder of runs.
        experiment: Search in this experiment only.
        pair: Search among pairs of this name only.

    Raises:
        UserError: No pair is complete; the message names what is missing.
    """
    found = _within(find(root), Path(root), experiment, pair)
    while True:
        groups = _finished(found)
        complete = {group: shared for group, runs in groups.items() if (shared := _seeds_in_two_arms(runs))}
        if not complete:
            raise UserError(_nothing_to_compare(Path(root), found, groups))
        group = max(complete, key=lambda group: (max(_started(run) for run in complete[group]), group))
        unreadable = {run.path: broken for run in complete[group] if (broken := _without_predictions(run))}
        if not unreadable:
            break
        found = [unreadable.get(run.path, run) for run in found]
    newest = _started(max(complete[group], key=_started))
    left_out = [
        *(_left_out(run) for run in groups[group] if run not in complete[group]),
        *(
            f"{run.path} is newer but has no finished twin with seed {run.place.seed}."
            for other, runs in groups.items()
            for run in runs
            if other not in complete and _started(run) > newest
        ),
        *(run.reason for run in found if isinstance(run, BrokenRun) and _group(run) == group),
        *_broken_elsewhere(found, group),
    ]
    return Pair(*group, tuple(complete[group]), tuple(left_out))


def _finished(found: Sequence[Run | BrokenRun]) -> dict[tuple[str, str], list[Run]]:
    """The finished runs by experiment and pair."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in found:
        if isinstance(run, Run):
            groups[run.place.group].append(run)
    return groups


def _without_predictions(run: Run) -> BrokenRun | None:
    """The run as a `BrokenRun` if its predictions are unreadable. Only runs of the chosen pair are read."""
    try:
        _ = run.predictions
    except UserError as error:
        return BrokenRun(run.path, run.place, str(error), unfinished=False)
    return None


def _broken_elsewhere(found: Sequence[Run | BrokenRun], group: tuple[str, str]) -> list[str]:
    """One sentence about all broken runs of the other pairs."""
    paths = [str(run.path) for run in found if isinstance(run, BrokenRun) and _group(run) != group]
    if not paths:
        return []
    listed = ", ".join(paths[:_LISTED]) + (f", ... {len(paths)} in all" if len(paths) > _LISTED else "")
    return [f"Unfinished or damaged runs of other pairs: {listed}."]


def _within(
    found: list[Run | BrokenRun], root: Path, experiment: str | None, pair: str | None
) -> list[Run | BrokenRun]:
    """The runs of the given experiment and pair; an unknown name is an error."""
    for at, (kind, wanted) in enumerate((("experiment", experiment), ("pair", pair))):
        if wanted is None:
            continue
        known = {_group(run)[at] for run in found}
        if wanted not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise UserError(f"{root} has no {kind} named {wanted}.{did_you_mean(wanted, known)} Known: {listed}.")
        found = [run for run in found if _group(run)[at] == wanted]
    return found


def _group(run: Run | BrokenRun) -> tuple[str, str]:
    """(experiment, pair) of a run, from its folders, so that a broken name such as seed-x has them too."""
    experiment, pair = run.path.parts[-4:-2]
    return experiment, pair


def _seeds_in_two_arms(runs: Sequence[Run]) -> list[Run]:
    arms_of_seed: dict[int, int] = defaultdict(int)
    for run in runs:
        arms_of_seed[run.place.seed] += 1
    return [run for run in runs if arms_of_seed[run.place.seed] > 1]


def _started(run: Run) -> datetime:
    # Use the run's own record: copying or cloning changes the times of files.
    return run.environment.started


def _left_out(run: Run) -> str:
    return f"{run.path} is left out, because no other arm has finished with seed {run.place.seed}."


def _nothing_to_compare(root: Path, found: list[Run | BrokenRun], groups: dict[tuple[str, str], list[Run]]) -> str:
    lines = [f"{root} has no pair to compare. Expected two arms of one pair, finished with the same seed."]
    for (experiment, pair), runs in groups.items():
        arms = ", ".join(f"{run.place.arm} (seed {run.place.seed})" for run in runs)
        lines.append(f"  {experiment}/{pair} has {arms}.")
    lines += [f"  {run.reason}" for run in found if isinstance(run, BrokenRun)]
    lines.append("Train the missing arm (xnorlit train ARM --seed N), or give two run directories.")
    return "\n".join(lines)
