"""metrics.csv: the metrics of a run."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.training.place import refuse_vanished


class MetricsFile(Logger):
    """`<folder>/metrics.csv`: a row for each logged step, a column for each metric.

    Rows are appended. When a new metric appears, the whole file is rewritten and replaced atomically. A killed process
    therefore loses at most the last row.

    Args:
        folder: The run's folder.
        until_step: Keep the rows of an earlier process before this step; later steps are logged again.
        count: Number of rows to keep; default: all.

    Attributes:
        count: Rows so far.
    """

    def __init__(self, folder: Path, until_step: int = 0, count: int | None = None) -> None:
        super().__init__()
        self.file = folder / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = []
        if self.file.is_file():
            whole, _, _ = self.file.read_text().rpartition("\n")  # Drop an unfinished line.
            former = csv.DictReader(whole.splitlines())
            self._rows = [row for row in former if str(row["step"]).isdecimal() and int(row["step"]) < until_step]
            self._rows = [{key: value for key, value in row.items() if value} for row in self._rows[:count]]
        self.count = len(self._rows)

    name, version = "", ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self.file.parent)

    @override
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Settings are in config.yaml."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self._rows.append({**metrics, "step": step})
        self.count += 1

    @override
    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        if not self.file.parent.is_dir():
            refuse_vanished(self.file.parent)
        new = {key for row in self._rows for key in row} - set(self._columns)
        if not new:
            with self.file.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerows(self._rows)
        else:
            if self._columns:
                with self.file.open(newline="") as file:
                    self._rows = [*csv.DictReader(file), *self._rows]
            self._columns = sorted({*self._columns, *new})
            with atomic.path(self.file) as scratch, scratch.open("w", newline="") as file:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(self._rows)
        self._rows = []

    @override
    def finalize(self, status: str) -> None:
        self.save()
