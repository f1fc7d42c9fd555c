"""Puts one small fault at a time into the parts that compute, and counts those that no test notices: `make mutants`.

The faults are those of cosmic-ray (another operator, number, comparison, branch). Each is tried in a fork of a process
that has imported torch, and nothing on disk changes: the fork imports the changed module from memory. The module's own
tests are asked first, and the other tests of its room about what they let pass.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OPERATORS = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul", "RShift_LShift"),
    *("LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt"),
    *("Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is", "Delete_USub", "Delete_Not", "Delete_Invert", "AddNot"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "RemoveDecorator"),
    "ZeroIterationForLoop",
}


class Room(NamedTuple):
    """What is changed, and who is to notice.

    Attributes:
        modules: Glob of the files.
        own: Tests of one file, `{stem}` for its name; those that do not exist are left out.
        all: Tests of the room.
    """

    modules: str
    own: str
    all: str


ROOMS = {
    "binarize": Room(
        "xnorlit/binarize/[a-z]*.py",
        "tests/binarize/test_{stem}.py tests/binarize/test_defaults.py tests/binarize/test_golden.py",
        "tests/binarize/test_every_binarizer.py tests/layers/test_layers.py",
    ),
    "layers": Room("xnorlit/layers/[a-z]*.py", "tests/layers/test_{stem}.py", "tests/layers tests/test_processes.py"),
    "order": Room("xnorlit/data/[oc]*er.py", "tests/data/test_{stem}.py", "tests/data/test_order.py"),
    "augment": Room("xnorlit/data/augment.py", "tests/data/test_augment.py", "tests/data/test_pictures.py"),
    "statistics": Room("xnorlit/comparison/statistics.py", "tests/comparison/test_statistics.py", "tests/comparison"),
    "atomic": Room("xnorlit/edge/atomic.py", "tests/edge/test_atomic.py", "tests/training/test_written_whole.py"),
    "training": Room(
        "xnorlit/training/[a-z]*.py", "tests/training/test_{stem}.py", "tests/training tests/faults/test_states.py"
    ),
    "export": Room("xnorlit/export/[a-z]*.py", "tests/export/test_{stem}.py", "tests/export tests/binarize"),
}


class Mutant(NamedTuple):
    """A module with one fault."""

    file: Path
    source: str
    line: int
    before: str
    after: str


def mutants(file: Path) -> Iterator[Mutant]:
    """All faults of one file that change what it does."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    source = file.read_text()
    known = {_meaning(source)}
    for name in operator_names():
        if not any(name.endswith(f"{'_' if '_' in wanted else '/'}{wanted}") for wanted in OPERATORS):
            continue
        occurrence = 0
        while (changed := mutate_code(source, get_operator(name)(), occurrence)) is not None:
            occurrence += 1
            try:
                meaning = _meaning(changed)
            except SyntaxError:
                continue
            if meaning not in known:
                known.add(meaning)
                yield Mutant(file, changed, *_difference(source, changed))


def _meaning(source: str) -> str:
    """The syntax tree without what does nothing when it runs: annotations, texts for readers, `@override`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = [each for each in node.decorator_list if ast.unparse(each) != "override"]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            given = node.args  # `*` and `/` decide how a caller may write an argument.
            given.args, given.posonlyargs, given.kwonlyargs = (
                [*given.posonlyargs, *given.args, *given.kwonlyargs],
                [],
                [],
            )
            given.defaults, given.kw_defaults = (
                [*given.defaults, *(each or ast.Constant(...) for each in given.kw_defaults)],
                [],
            )
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("int")
    return ast.dump(tree)


def _difference(before: str, after: str) -> tuple[int, str, str]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    for number, (old, new) in enumerate(pairs, start=1):
        if old != new:
            return number, old.strip(), new.strip()
    return 0, "", ""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = ".".join(mutant.file.relative_to(ROOT).with_suffix("").parts)
        self.mutant = mutant

    def find_spec(self, name, path=None, target=None):
        """Python's."""
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_source(self, name):
        """Python's, and inspect's."""
        return self.mutant.source

    def exec_module(self, module):
        """Python's."""
        module.__file__ = str(self.mutant.file)
        exec(compile(self.mutant.source, module.__file__, "exec"), module.__dict__)


def passes(mutant: Mutant | None, tests: list[str], limit: float) -> bool:
    """Whether tests pass with a fault in place; one that hangs does not."""
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        os.setsid()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        if mutant:
            sys.meta_path.insert(0, Finder(mutant))
        import pytest

        quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not gpu and not slow"]
        os._exit(min(int(pytest.main([*quiet, *tests])), 9))
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def survey(name: str, most: int, seed: int, until: float, wide: bool) -> tuple[int, int]:
    """Tries the faults of one room; how many were noticed, of how many."""
    room, noticed, tried = ROOMS[name], 0, 0
    found = [mutant for file in sorted(ROOT.glob(room.modules)) for mutant in mutants(file)]
    chosen = random.Random(seed).sample(found, min(most, len(found)))
    whole = [word for word in room.all.split() if (ROOT / word).exists()]
    times: dict[str, float] = {}
    for mutant in chosen:
        if time.monotonic() > until:
            break
        print(f"\r{name}: {noticed} of {tried}", end="", file=sys.stderr)
        own = [word for word in room.own.format(stem=mutant.file.stem).split() if (ROOT / word).exists()]
        selections = ([own] if own else []) + ([whole] if wide or not own else [])
        tried += 1
        for tests in selections:
            key = " ".join(tests)
            if key not in times:
                began = time.monotonic()
                if not passes(None, tests, 1200):
                    raise SystemExit(f"{key} fail without any fault: mend that first")
                times[key] = time.monotonic() - began
            if not passes(mutant, tests, 30 + 5 * times[key]):
                noticed += 1
                break
        else:
            place = f"{mutant.file.relative_to(ROOT)}:{mutant.line}"
            print(f"unnoticed: {place}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
    print(f"{name}: {noticed} of {tried} noticed; {len(found)} possible", flush=True)
    return noticed, tried


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help=", ".join(ROOMS))
    parser.add_argument("--most", type=int, default=10**9, help="faults of a room, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no fault of a room after so many")
    parser.add_argument("--narrow", action="store_true", help="ask a module's own tests alone, where it has some")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ.update(OMP_NUM_THREADS="1", WANDB_MODE="disabled")
    import hypothesis  # noqa: F401 - what each fork would import first
    import pytest  # noqa: F401
    import torchvision  # noqa: F401

    rooms = [survey(n, given.most, given.seed, time.monotonic() + 60 * given.minutes, not given.narrow)
             for n in given.rooms]  # fmt: skip
    noticed, tried = (sum(column) for column in zip(*rooms, strict=True))
    print(f"score: {noticed} of {tried}, {noticed / max(1, tried):.1%}")


if __name__ == "__main__":
    main()
