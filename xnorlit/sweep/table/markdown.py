"""Write rows as a Markdown table, in place of the table in a README."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from xnorlit.edge import atomic
from xnorlit.errors import UserError
from xnorlit.sweep.table.rows import Row

BEGIN, END = "<!-- table: written by xnorlit table -->", "<!-- end of the table -->"

_HEAD = (
    "arm",
    "method",
    "W / A bits",
    "top-1 %",
    "seeds",
    "gap to the twin",
    "step",
    "packed, MiB",
    "ms an image",
    "remark",
)


def rendered(rows: Sequence[Row], files: Mapping[str, str], remarks: Mapping[str, str]) -> str:
    """The table, in the order of the rows.

    Args:
        rows: One for each arm.
        files: Path of each arm's overlay, as a link from the README.
        remarks: Further remarks, by the arm's name.
    """
    lines = [_HEAD, ("---",) * len(_HEAD), *(_cells(row, files[row.arm], remarks.get(row.arm, "")) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row, file: str, remark: str) -> tuple[str, ...]:
    spread = f" ± {row.spread:.2f}" if row.spread is not None else ""
    return (
        f"[`{row.arm}`]({file})",
        row.method,
        row.bits or "not recorded",
        f"{row.mean:.2f}{spread}",
        ", ".join(f"{seed}: {top1:.2f}" for seed, top1 in row.top1.items()),
        "" if row.gap is None else f"{row.gap:.2f}",
        "not measured" if row.step is None else f"{row.step:.2f}",
        "none" if row.packed is None else f"{row.packed:.3g}",
        _milliseconds(row),
        "; ".join(filter(None, (remark, _in("differs in", row.differs), _in("its seeds differ in", row.mixed)))),
    )


def _in(what: str, keys: Sequence[str]) -> str:
    return f"{what} {', '.join(f'`{key}`' for key in keys)}" if keys else ""


def _milliseconds(row: Row) -> str:
    if row.milliseconds is None:
        return "none" if row.packed is None else "not measured"
    return f"{row.milliseconds:.3g}"


def put(table: str, readme: Path) -> None:
    """Replace the text between the two marks in a README, or write a README with the table alone.

    Args:
        table: The table in Markdown.
        readme: The file. If it exists, it must contain the marks.

    Raises:
        UserError: The file exists without the marks.
    """
    before, after = around(readme)
    with atomic.path(readme) as scratch:
        scratch.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def around(readme: Path) -> tuple[str, str]:
    """The text before and after the table; of a README that is still to be written, a heading and nothing.

    Args:
        readme: The file. If it exists, it must contain the marks.

    Raises:
        UserError: The file exists without the marks.
    """
    text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {readme.parent.name}\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{readme} has no marks for the table. Expected these two lines in it:\n{BEGIN}\n{END}")
    return before, after
