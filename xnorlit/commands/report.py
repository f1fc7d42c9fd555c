"""The page's side of `xnorlit report`: its options, and the pair's page written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorlit.commands.arguments import Parser
from xnorlit.commands.compare import compared
from xnorlit.comparison.comparison import Comparison
from xnorlit.errors import UserError
from xnorlit.output import atomic
from xnorlit.output.console import say
from xnorlit.report.html.record import record
from xnorlit.report.html.render import render

_MARK = '<meta name="generator" content="xnorlit report">'


@dataclass(frozen=True)
class Written:
    """A page that was written, and what it shows."""

    path: Path
    comparison: Comparison
    record: dict[str, Any]


def parser() -> Parser:
    """The options of `xnorlit report`, as far as they are the page's."""
    found = Parser(
        "xnorlit report",
        "Writes a pair's page: one HTML file with the comparison, its uncertainty, curves, sizes, and where the arms "
        "disagree. It needs no network, to write or to read. With a W&B login, the dashboard there is built too.",
        "xnorlit report synthetic/pair-0 --bench bench.json",
    )
    found.add_argument(
        "what",
        nargs="*",
        metavar="PAIR|RUN",
        help="EXPERIMENT/PAIR or its folder; or run directories of two or more arms (default: the newest pair)",
    )
    found.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html in the pair's folder)")
    found.add_argument("--bench", type=Path, metavar="JSON", help="what `xnorlit bench --json` wrote, for CPU times")
    found.add_argument("--data", type=Path, metavar="FOLDER", help="the images (default: where the runs found them)")
    found.add_argument("--root", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    return found


def main(
    what: Sequence[str] = (),
    *,
    out: Path | None = None,
    bench: Path | None = None,
    data: Path | None = None,
    root: Path = Path("runs"),
) -> Path:
    """Writes a pair's page and gives its path; see `write`."""
    return write(what, out=out, bench=bench, data=data, root=root).path


def write(
    what: Sequence[str] = (),
    *,
    out: Path | None = None,
    bench: Path | None = None,
    data: Path | None = None,
    root: Path = Path("runs"),
) -> Written:
    """Writes a pair's page.

    Args:
        what: A pair, or run directories; none for the newest pair.
        out: The file; report.html in the pair's folder, or here where the runs are of several pairs, unless given.
        bench: JSON of `xnorlit bench`.
        data: Folder of the images.
        root: Folder of all runs.

    Raises:
        UserError: There is nothing to compare, or `out` is a file that is no such page.
    """
    if data is not None and not data.is_dir():
        raise UserError(f"{data} is no folder. Expected the images: a folder with val/ or test/, or that split itself.")
    comparison = comparison_of(what, root)
    out = out or _beside(comparison) / "report.html"
    _refuse_other_file(out)
    shown = record(comparison, bench=bench, data=data)
    page = render(shown, _again(what, bench, data, root))
    with atomic.path(out) as scratch:
        scratch.write_text(page, encoding="utf-8")
    say("report", f"{out} ({len(page.encode()) / 2**20:.2g} MiB; any browser opens it, no network needed)")
    for note in comparison.notes:
        say("", f"note: {note}")
    return Written(out, comparison, shown)


def comparison_of(what: Sequence[str], root: Path) -> Comparison:
    """The comparison of a pair, or of run directories; of the newest pair where none is named.

    Args:
        what: A pair, or run directories.
        root: Folder of all runs.

    Raises:
        UserError: There is nothing to compare.
    """
    if len(what) != 1:
        return compared([Path(word) for word in what], root=root)
    path = Path(what[0])
    if (path / "config.yaml").exists() or (path / "summary.json").exists():
        raise UserError(f"One run was given, {path}; two or more were expected, or a pair: {path.parent.parent}.")
    if path.is_dir() and any(path.glob("*/seed-*")):
        full = path.resolve()
        return compared(root=full.parent.parent, experiment=full.parent.name, pair=full.name)
    experiment, _, pair = what[0].rpartition("/")
    return compared(root=root, experiment=experiment or None, pair=pair)


def _beside(comparison: Comparison) -> Path:
    """The folder of the pair that all runs are of; the current one where they are of several."""
    folders = {Path(seed.run).parents[1] for arm in comparison.arms for seed in arm.seeds}
    return folders.pop() if len(folders) == 1 else Path()


def _refuse_other_file(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"{out} is a folder; a file was expected, such as {out / 'report.html'}.")
    if out.exists() and _MARK not in out.read_bytes()[:4096].decode("utf-8", "replace"):
        raise UserError(
            f"{out} exists and is no page of xnorlit report, so it is not written over. Give another --out."
        )


def _again(what: Sequence[str], bench: Path | None, data: Path | None, root: Path) -> list[str]:
    options = [("--bench", bench), ("--data", data), ("--root", root if root != Path("runs") else None)]
    return ["report", *what, *(word for name, value in options if value is not None for word in (name, str(value)))]
