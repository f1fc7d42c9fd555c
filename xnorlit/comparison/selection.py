"""The runs to compare: named runs, a named pair, or the newest pair."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xnorlit.comparison.compare import compare
from xnorlit.comparison.comparison import Comparison
from xnorlit.errors import UserError
from xnorlit.runs import newest_pair


def compared(
    what: Sequence[str | Path] = (),
    *,
    root: Path | str = Path("runs"),
    experiment: str | None = None,
    pair: str | None = None,
) -> Comparison:
    """The comparison of named runs, of a named pair, or of the newest pair under `root`.

    Args:
        what: Run directories of at least two arms, or one pair: `EXPERIMENT/PAIR` or its folder; none for the newest.
        root: Folder of all runs.
        experiment: Search only this experiment.
        pair: Search only pairs of this name.

    Raises:
        UserError: There is nothing to compare, or both runs and a search for runs are given.
    """
    root = Path(root)
    if what and (experiment or pair):
        raise UserError(
            "Runs or a pair were named together with --experiment or --pair, which search for runs; only one of them "
            "is expected. Remove the other."
        )
    if len(what) > 1:
        return compare(what)
    if what:
        root, experiment, pair = _pair(what[0], root)
    found = newest_pair(root, experiment=experiment, pair=pair)
    comparison = compare(found.runs, strict=False)
    return replace(comparison, notes=(*found.left_out, *comparison.notes))


def _pair(what: str | Path, root: Path) -> tuple[Path, str | None, str | None]:
    """Root, experiment and pair that one word names."""
    path = Path(what)
    if (path / "config.yaml").exists() or (path / "summary.json").exists():
        raise UserError(f"One run was given: {path}; at least two are expected, or a pair. Give {path.parent.parent}.")
    if path.is_dir() and any(path.glob("*/seed-*")):
        full = path.resolve()
        return full.parent.parent, full.parent.name, full.name
    experiment, _, pair = str(what).rpartition("/")
    return root, experiment or None, pair or None
