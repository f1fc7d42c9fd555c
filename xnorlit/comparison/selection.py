"""Which runs are compared: those that are named, those of a named pair, or those of the newest pair."""

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
    """The comparison of the runs that are named, of a named pair, or of the newest pair under `root`.

    Args:
        what: Run directories of two or more arms; or one pair, `EXPERIMENT/PAIR` or its folder; none for the newest.
        root: Folder of all runs, where a pair is searched.
        experiment: Search for the newest pair of this experiment only.
        pair: Search among the pairs of this name only.

    Raises:
        UserError: There is nothing to compare, or runs are named together with where to search for them.
    """
    root = Path(root)
    if what and (experiment or pair):
        raise UserError(
            "Runs or a pair were named together with --experiment or --pair, which search for them; give one or the "
            "other."
        )
    if len(what) > 1:
        return compare(what)
    if what:
        root, experiment, pair = _pair(what[0], root)
    found = newest_pair(root, experiment=experiment, pair=pair)
    comparison = compare(found.runs, strict=False)
    return replace(comparison, notes=(*found.left_out, *comparison.notes))


def _pair(what: str | Path, root: Path) -> tuple[Path, str | None, str | None]:
    """Root, experiment and name of the pair that one word names."""
    path = Path(what)
    if (path / "config.yaml").exists() or (path / "summary.json").exists():
        raise UserError(f"One run was given, {path}; two or more were expected, or a pair: {path.parent.parent}.")
    if path.is_dir() and any(path.glob("*/seed-*")):
        full = path.resolve()
        return full.parent.parent, full.parent.name, full.name
    experiment, _, pair = str(what).rpartition("/")
    return root, experiment or None, pair or None
