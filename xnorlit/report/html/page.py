"""Write a pair's page to a file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorlit.comparison.comparison import Comparison
from xnorlit.edge import atomic
from xnorlit.errors import UserError
from xnorlit.report.html.live import live
from xnorlit.report.html.record import record
from xnorlit.report.html.render import render

_MARK = '<meta name="generator" content="xnorlit report">'


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        path: The page's file.
        record: Every number on the page.
    """

    path: Path
    record: dict[str, Any]


def write(
    comparison: Comparison,
    *,
    out: Path | None = None,
    bench: Path | None = None,
    data: Path | None = None,
    again: list[str] | None = None,
    network: bytes | None = None,
) -> Page:
    """Write a pair's page.

    Args:
        comparison: The comparison of the pair's runs.
        out: The file. The default is report.html in the pair's folder, or here if the runs belong to several pairs.
        bench: JSON of `xnorlit bench`.
        data: Folder of the images.
        again: The command that writes the page again, printed on the page.
        network: The bytes of a packed file that loads, for a section in which it runs.

    Raises:
        UserError: `data` is not a folder, `out` is another kind of file, or a network is given and the engine has not
            been built for browsers.
    """
    if data is not None and not data.is_dir():
        raise UserError(
            f"{data} is not a folder. Expected a folder of images with val/ or test/ in it, or that split itself."
        )
    out = out or _beside(comparison) / "report.html"
    _refuse_other_file(out)
    running = live(network) if network is not None else None
    shown = record(comparison, bench=bench, data=data)
    page = render(shown, again or ["report"], running)
    with atomic.path(out) as scratch:
        scratch.write_text(page, encoding="utf-8")
    return Page(out, shown)


def _beside(comparison: Comparison) -> Path:
    """The folder of the pair that holds all runs; the current folder if there are several pairs, or copies of runs."""
    given = [Path(os.path.normpath(Path(seed.run, "..", ".."))) for arm in comparison.arms for seed in arm.seeds]
    folders = {folder.resolve(): folder for folder in given}
    if len(folders) > 1:
        return Path()
    ((resolved, folder),) = folders.items()
    return folder if resolved.name == comparison.pair else Path()


def _refuse_other_file(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"{out} is a folder. Expected a file, such as {out / 'report.html'}.")
    if out.exists() and _MARK not in out.read_bytes()[:4096].decode("utf-8", "replace"):
        raise UserError(
            f"{out} exists and is not a page of xnorlit report, so it is not overwritten. Give another --out."
        )
