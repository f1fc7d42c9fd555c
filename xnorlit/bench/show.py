"""A document on the terminal, or as Markdown for docs/benchmarks.md."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from xnorlit.bench.tables import Table, tables


def heading(document: dict[str, Any]) -> Iterator[str]:
    """Lines that state what was measured, where, and the warnings."""
    machine, subject = document["machine"], document["subject"]
    yield (f"{subject['network']}, {subject['image_size']} pixels, {subject['classes']} classes: {subject['weights']}")
    yield f"{machine['cpu']} ({', '.join(machine['flags'])}), {machine['usable_cores']} processors"
    versions = ", ".join(f"{name} {machine['packages'][name]}" for name in _SHOWN if name in machine["packages"])
    yield f"{versions}; commit {str(machine['git']['commit'])[:8]}{' changed' if machine['git']['dirty'] else ''}"
    yield machine["command"]
    for warning in document["warnings"]:
        yield f"warning: {warning}"


_SHOWN = ("xnorlit", "torch", "onnxruntime", "openvino")


def notes(document: dict[str, Any]) -> Iterator[str]:
    """What was not measured and why, and the limits for the figures."""
    reasons: dict[str, str] = {}
    for row in document["rows"]:
        reasons |= row["not_measured"]
    for side, why in reasons.items():
        yield f"not measured: {side}: {why}"
    yield textbook_bound(document)


def textbook_bound(document: dict[str, Any]) -> str:
    """The origin of the paper's 58, and the bound on this machine."""
    limits = document["limits"]
    best = max(limits["bits"], key=lambda path: limits["bits"][path])
    bound = limits["bits"][best] / limits["fp32_peak"]
    return (
        "The paper's 58 counts 64 binary products as one operation, against 64 scalar multiply-adds, plus one real "
        "multiplication per output. No processor multiplies scalars one at a time any more: the vector unit here does "
        "several fp32 multiply-adds in one instruction, and a word of signs costs an exclusive or, a count and an "
        "addition. What remains is bits peak over fp32 peak, measured on registers: "
        f"{bound:.1f} with {best}. That is the largest gain of a layer here over a perfect fp32 convolution; "
        "a higher ratio means that the opponent is not perfect. The shares state how much of it each layer reaches."
    )


def print_document(document: dict[str, Any], console: Console) -> None:
    """The whole document on a terminal of any width."""
    for line in heading(document):
        console.print(Text(line, "yellow" if line.startswith("warning") else ""))
    for table in tables(document):
        console.print()
        console.print(_rich(table))
    console.print()
    for line in notes(document):
        console.print(Text(line))


def markdown(document: dict[str, Any]) -> str:
    """The same as Markdown."""
    lines = [f"- {line}" for line in heading(document)]
    for table in tables(document, meanings=True):
        lines += ["", f"**{table.title}**", "", _row(table.headings), _row(_ruler(table))]
        lines += [_row(row) for row in table.rows]
    lines += [""] + [f"{line}\n" for line in notes(document)]
    return "\n".join(lines).rstrip() + "\n"


def _rich(table: Table) -> RichTable:
    found = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, heading_cell in enumerate(table.headings):
        found.add_column(
            Text(heading_cell, "bold"), justify="left" if i < table.text_columns else "right", overflow="fold"
        )
    for row in table.rows:
        found.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    return found


_STYLES = {"missed": "red", "met": "green", "met, aim too": "bold green"}


def _ruler(table: Table) -> tuple[str, ...]:
    return tuple("---" if i < table.text_columns else "---:" for i in range(len(table.headings)))


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
