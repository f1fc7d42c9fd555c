"""A grid's tables: for a terminal, as Markdown and as CSV."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from xnorlit.edge import atomic
from xnorlit.runs.arm import readable
from xnorlit.sweep.grid.effects import Combination, Effect, combinations, effects
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.outcome import Outcome

_GAPS = "gap to the twin"
_MEASURED = ("top1", "top5", "step_seconds", "train_seconds", "packed_bits")


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Attributes:
        title: Title of the table.
        head: Titles of the columns.
        rows: Cells of each row.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """The table for a terminal of any width."""
        table = Table(*self.head, title=self.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""])


def sheets(outcomes: Sequence[Outcome]) -> list[Sheet]:
    """The results of each combination of a grid, and the effect of each parameter.

    Args:
        outcomes: The finished runs of one grid; at least one.
    """
    both = _of_combinations(combinations(outcomes)), _of_effects(effects(outcomes))
    return [sheet for sheet in both if sheet.rows]


def _of_combinations(found: Sequence[Combination]) -> Sheet:
    labels = tuple(found[0].varied)
    gaps = any(each.row.gap is not None for each in found)
    head = (*labels, "top-1 %", "seeds", *((_GAPS,) if gaps else ()), "step, ms", "packed, MiB")
    return Sheet("every combination", head, tuple(_cells(each, gaps) for each in found))


def _cells(each: Combination, gaps: bool) -> tuple[str, ...]:
    row = each.row
    spread = f" ± {row.spread:.2f}" if row.spread is not None else ""
    gap = "float twin" if each.twin else "" if row.gap is None else f"{row.gap:.2f}"
    return (
        *(shown(value) for value in each.varied.values()),
        f"{row.mean:.2f}{spread}",
        ", ".join(f"{seed}: {top1:.2f}" for seed, top1 in row.top1.items()),
        *((gap,) if gaps else ()),
        f"{1000 * row.seconds:.1f}",
        "none" if row.packed is None else f"{row.packed:.3g}",
    )


def _of_effects(found: Iterable[Effect]) -> Sheet:
    head = ("parameter", "value", "runs", "mean top-1 %", "change", "over pairs")
    title = "each parameter: mean top-1, and its change from the first value with all else equal"
    return Sheet(title, head, tuple(map(_line, found)))


def _line(effect: Effect) -> tuple[str, ...]:
    spread = f" ± {effect.spread:.2f}" if effect.spread is not None else ""
    change = "" if effect.change is None else f"{effect.change:+.2f}{spread}"
    pairs = str(effect.pairs) if effect.pairs else ""
    return effect.label, shown(effect.value), str(effect.runs), f"{effect.mean:.2f}", change, pairs


def shown(value: Value) -> str:
    """A value as short text; a class as its name with its settings."""
    return readable(value) if isinstance(value, str) else str(value)


def write(grid: Grid, outcomes: Sequence[Outcome], folder: Path) -> tuple[Path, Path]:
    """Write the tables as Markdown, and one line for each run as CSV; return both files.

    Args:
        grid: The grid.
        outcomes: The grid's finished runs.
        folder: The folder of the grid's runs.
    """
    page, lines = folder / "ablation.md", folder / "ablation.csv"
    text = [f"# {grid.name}", "", grid.description, "", *(sheet.markdown() for sheet in sheets(outcomes))]
    with atomic.path(page) as scratch:
        scratch.write_text("\n".join(text), encoding="utf-8")
    with atomic.path(lines) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*outcomes[0].parameters, *_MEASURED, "run"])
        for each in outcomes:
            measured = (getattr(each.run.summary, name) for name in _MEASURED)
            writer.writerow([*each.parameters.values(), *measured, each.run.path])
    return page, lines
