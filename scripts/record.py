"""Keep the small files of finished runs beside their recipe: configuration, environment, curves, predictions, results.

    python scripts/record.py runs/imagenette@photos/pair-0/*/seed-*/ --into experiments/imagenette/records

`xnorlit compare`, `report` and `table --no-training` read such a record like the run itself. Checkpoints stay where
they are. A run that names a file by an absolute path is refused, because the record would name a machine. Runs that
`--run.fresh` moved aside are left out.
"""

import argparse
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from xnorlit.edge import atomic
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.runs import Run, read
from xnorlit.runs.place import Place, is_aside

FILES = ("config.yaml", "environment.json", "metrics.csv", "predictions.safetensors", "summary.json")
TIMES = "steps.json"
TEXTS = tuple(name for name in (*FILES, TIMES) if name.endswith((".yaml", ".json")))
ABSOLUTE = re.compile(r"""(?:^|[\s"'=:\[,(])([/~][\w.@/-]+)""", re.MULTILINE)


def main() -> None:
    """Record the runs that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, such as runs/cifar10/pair-0/xnor/seed-0")
    parser.add_argument("--into", type=Path, required=True, help="folder of the records, a root as `runs` is")
    given = parser.parse_args()
    try:
        found = [read(path) for path in given.runs if not is_aside(path)]
        for run in found:
            refuse_machine(run)
        for run in found:
            say("record", str(record(run, given.into)))
    except UserError as error:
        sys.exit(f"error: {error}")


def refuse_machine(run: Run) -> None:
    """Refuse a run whose text files contain an absolute path.

    Raises:
        UserError: A file contains one.
    """
    found = [(file, file.read_text(encoding="utf-8")) for file in _files(run) if file.name in TEXTS]
    for file, text in found:
        if path := ABSOLUTE.search(text):
            raise UserError(
                f"{file} contains the path {path[1]}, which exists on one machine only. Expected relative paths: train "
                "with --run.root, --data.root and --data.source relative to the working folder."
            )


def record(run: Run, into: Path) -> Path:
    """Copy a run's small files, and its pair's times of steps if they were measured; the folder of the copy.

    Args:
        run: A finished run.
        into: Root of the records.

    Raises:
        UserError: The copy would replace the run.
    """
    place = replace(run.place, root=into)
    target = place.path
    if target.resolve() == run.path.resolve():
        raise UserError(f"{run.path} is the run itself. Give another folder than its root: --into FOLDER.")
    for file in _files(run):
        folder = place.pair_path if file.name == TIMES else target
        with atomic.path(folder / file.name) as scratch:
            shutil.copyfile(file, scratch)
    return target


def _files(run: Run) -> list[Path]:
    """The files of a run's record; among them its pair's times, unless the run was copied out of its pair."""
    place = Place.of(run.path)
    times = [place.pair_path / TIMES] if place else []
    return [*(run.path / name for name in FILES), *filter(Path.is_file, times)]


if __name__ == "__main__":
    main()
