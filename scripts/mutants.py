"""Mutation testing: injects one fault at a time into the rooms that compute and lists undetected ones (`make mutants`).

The faults are those of cosmic-ray: a different operator, number, comparison or branch. Each mutant runs in a fork of a
process that has imported torch. The fork imports the mutated module from memory, so nothing on disk changes. First,
every test of a room runs once, which records the lines that it covers. The tests that cover a fault's line then run,
the shortest of each function first, until one fails or the time is up.
"""

import argparse
import ast
import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = "tests/test_defaults.py"  # one test for each module, with its name, of the code that runs on import
KNOWN = ROOT / "scripts" / "equivalent.json"
CACHE = ROOT / ".pytest_cache" / "mutants"
OPERATORS = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul", "RShift_LShift"),
    *("LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt"),
    *("Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is", "Delete_USub", "Delete_Not", "Delete_Invert", "AddNot"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "RemoveDecorator"),
    "ZeroIterationForLoop",
}
ALIKE = 0.9  # share of equal lines above which recorded lines are moved instead of recorded again
HANGS = 900  # seconds of wall time; on a busy machine, a few seconds of processor time take many
HEAVY = ("torchvision", "pytorch_lightning", "torchmetrics", "jsonargparse", "hypothesis", "pytest", "scipy.stats")


class Room(NamedTuple):
    """The code to mutate and the tests that should detect the faults.

    Attributes:
        modules: Globs of the files; a minus excludes.
        tests: Globs of the test files, likewise.
    """

    modules: str
    tests: str


ROOMS = {
    "atomic": Room("xnorlit/edge/atomic.py", "tests/edge/test_atomic.py tests/training/test_written_whole.py"),
    "statistics": Room("xnorlit/comparison/statistics.py", "tests/comparison/test_statistics.py"),
    "order": Room(
        "xnorlit/data/order.py xnorlit/data/counter.py", "tests/data/test_order.py tests/data/test_counter.py"
    ),
    "augment": Room("xnorlit/data/augment.py", "tests/data/test_augment.py tests/data/test_pictures.py"),
    "binarize": Room("xnorlit/binarize/[a-z]*.py", "tests/binarize/test_*.py tests/test_bounds.py"),
    "layers": Room("xnorlit/layers/[a-z]*.py", "tests/layers/test_*.py tests/test_processes.py tests/test_bounds.py"),
    "training": Room(
        # Excluded: tests that train in separate processes, which are slow, and W&B's modules, whose tests are slow too.
        "xnorlit/training/[a-z]*.py xnorlit/training/losses/[a-z]*.py -xnorlit/training/tracking.py "
        "-xnorlit/training/loggers.py",
        "tests/training/test_*.py tests/training/losses/test_*.py tests/test_bounds.py tests/faults/test_states.py "
        "-tests/training/test_fit.py -tests/training/test_recipes.py -tests/training/test_tracking.py "
        "-tests/training/test_elastic.py",
    ),
    "export": Room(
        # Excluded: tests of commands, which train a run first.
        "xnorlit/export/[a-z]*.py",
        "tests/export/test_*.py -tests/export/test_*command.py -tests/export/test_zoo.py",
    ),
}


class Mutant(NamedTuple):
    """A module with one fault."""

    file: Path
    source: str
    line: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """`xnorlit/edge/atomic.py: old line -> new line`, without the line number, which may change."""
        return f"{self.file.relative_to(ROOT)}: {self.before} -> {self.after}"


class Test(NamedTuple):
    """A test and the lines of a room that it covers.

    Attributes:
        name: The test's node id.
        seconds: Processor time, including fixtures that it is the first to use.
        lines: `file:line` of each line that the test or one of its fixtures covers.
        own: The lines that the test itself covers.
    """

    name: str
    seconds: float
    lines: set[str]
    own: set[str]


# --- faults ----------------------------------------------------------------------------------------------------------
def places(file: Path) -> list[tuple[Path, str, int]]:
    """All possible faults of a file, as (file, operator, occurrence)."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes = list(ast_nodes(get_ast(file.read_text())))
    found = []
    for name in operator_names():
        if any(name.endswith(f"{'_' if '_' in wanted else '/'}{wanted}") for wanted in OPERATORS):
            operator = get_operator(name)()
            found += [(file, name, n) for n, _ in enumerate(p for x in nodes for p in operator.mutation_positions(x))]
    return found


def draw(files: list[Path], most: int, seed: int) -> Iterator[Mutant]:
    """Up to `most` mutants whose behaviour may differ, in random order."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    found = [place for file in files for place in places(file)]
    random.Random(seed).shuffle(found)
    known = {file: {_meaning(file.read_text())} for file in files}
    for file, name, occurrence in found:
        source = file.read_text()
        try:
            changed = _aligned(source, mutate_code(source, get_operator(name)(), occurrence) or source)
            meaning = _meaning(changed)
        except (AttributeError, SyntaxError):  # cosmic-ray fails on dotted exception names.
            continue
        if meaning in known[file]:
            continue
        known[file].add(meaning)
        yield Mutant(file, changed, *_difference(source, changed))
        most -= 1
        if not most:
            return


def _aligned(before: str, after: str) -> str:
    """A changed source with as many lines as before, so that recorded lines stay right."""
    missing = before.count("\n") - after.count("\n")
    rows = after.splitlines(keepends=True)
    at = _difference(before, after)[0] - 1
    return "".join([*rows[:at], "\n" * missing, *rows[at:]]) if missing > 0 else after


def _meaning(source: str) -> str:
    """The syntax tree without parts that have no effect at run time: annotations and some decorators."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            nothing = {"override", "abstractmethod"}
            if node.name in ("forward", "backward"):  # torch reads them from the class of a Function.
                nothing.add("staticmethod")
            node.decorator_list = [each for each in node.decorator_list if ast.unparse(each) not in nothing]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            given = node.args  # `*` and `/` only restrict how a caller passes an argument.
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
    """Imports the mutated module from memory."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = ".".join(mutant.file.relative_to(ROOT).with_suffix("").parts)
        self.mutant = mutant

    def find_spec(self, name, path=None, target=None):
        """See importlib."""
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_source(self, name):
        """See importlib; inspect calls it too."""
        return self.mutant.source

    def exec_module(self, module):
        """See importlib."""
        module.__file__ = str(self.mutant.file)
        exec(compile(self.mutant.source, module.__file__, "exec"), module.__dict__)


# --- coverage --------------------------------------------------------------------------------------------------------
class Recorder:
    """A pytest plug-in that records which test covers which line, in forked children too.

    Args:
        files: The files.
        output: Receives one JSON array per line.
    """

    def __init__(self, files: list[Path], output: Path) -> None:
        self.files = {str(file): str(file.relative_to(ROOT)) for file in files}
        self.handle = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.seen: set[tuple[str, int]] = set()
        self.who = ""

    def write(self, *row: Any) -> None:
        """Append a row."""
        os.write(self.handle, (json.dumps(row) + "\n").encode())

    def start(self) -> None:
        """Trace all threads from now on."""
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame: Any, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename in self.files else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        if event == "line" and (key := (frame.f_code.co_filename, frame.f_lineno)) not in self.seen:
            self.seen.add(key)
            self.write("line", self.who, f"{self.files[key[0]]}:{key[1]}")
        return self._line

    @contextlib.contextmanager
    def _as(self, who: str) -> Iterator[None]:
        former, self.who, self.seen = (self.who, self.seen), who, set()
        try:
            yield
        finally:
            self.who, self.seen = former

    def pytest_runtest_protocol(self, item):
        """See pytest; a wrapper, as registered in `_pytest`."""
        began = sum(os.times()[:4])
        with self._as(item.nodeid):
            yield
        self.write("test", item.nodeid, sum(os.times()[:4]) - began, list(item.fixturenames))

    def pytest_fixture_setup(self, fixturedef, request):
        """See pytest; lines covered by a shared fixture count for each test that uses it."""
        with self._as(self.who if fixturedef.scope == "function" else f"fixture {fixturedef.argname}"):
            return (yield)

    def pytest_runtest_logreport(self, report):
        """See pytest."""
        if report.outcome != "passed":
            self.write("out", report.nodeid)


def _files(globs: str) -> list[Path]:
    found: set[Path] = set()
    for word in globs.split():
        found = found - set(ROOT.glob(word[1:])) if word.startswith("-") else found | set(ROOT.glob(word))
    return sorted(found)


def tests_of(room: Room, files: list[Path]) -> list[Test]:
    """Every test of a room with the lines that it covers.

    A recording is kept until its test changes. Where the code has changed a little, the recorded lines move with it.
    """
    code = {str(file.relative_to(ROOT)): _stored(file) for file in files}
    found: list[Test] = []
    for file in _files(f"{room.tests} {DEFAULTS}"):
        words = str(file.relative_to(ROOT))
        key = hashlib.sha256(f"{room.modules}{words}".encode() + file.read_bytes()).hexdigest()
        kept = CACHE / f"{key}.jsonl"
        rows = _moved(kept, code) if kept.is_file() else None
        if rows is None:
            print(f"\rcoverage: {words}", end="\033[K", file=sys.stderr)
            scratch = CACHE / f"{key}.partial"
            scratch.write_text(json.dumps(["code", code]) + "\n")
            _pytest([words], 3600, Recorder(files, scratch))
            scratch.replace(kept)
            rows = _moved(kept, code)
        found += _read(rows or [])
    return found


def _stored(file: Path) -> str:
    """The hash of a file, whose content is kept under that name."""
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    kept = CACHE / "sources" / name
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(file.read_bytes())
    return name


def _moved(recording: Path, code: dict[str, str]) -> list[list[Any]] | None:
    """The rows of a recording with the lines of today's code; None if the code has changed too much."""
    (_, then), *rows = (json.loads(row) for row in recording.read_text().splitlines())
    found = []
    for row in rows:
        if row[0] != "line":
            found.append(row)
            continue
        file, _, line = row[2].rpartition(":")
        if file not in code or (lines := _new_lines(then[file], code[file])) is None:
            return None
        found += [["line", row[1], f"{file}:{new}"] for new in lines.get(int(line), ())]
    return found


@functools.cache
def _new_lines(then: str, now: str) -> dict[int, list[int]] | None:
    """Where each line of a file is now; changed and added lines stand for those that they replace or follow."""
    old, new = ((CACHE / "sources" / name).read_text().splitlines() for name in (then, now))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < ALIKE:
        return None
    found: dict[int, list[int]] = {}
    for kind, i, end, j, stop in matcher.get_opcodes():
        pairs = zip(range(i, end), range(j, stop), strict=True) if kind == "equal" else ()
        found |= {before + 1: [after + 1] for before, after in pairs}
        if kind == "replace":
            found |= {line + 1: list(range(j + 1, stop + 1)) for line in range(i, end)}
        elif kind == "insert" and i:
            found.setdefault(i, []).extend(range(j + 1, stop + 1))
    return found


def _read(rows: list[list[Any]]) -> list[Test]:
    lines: dict[str, set[str]] = {}
    for row in rows:
        if row[0] == "line":
            lines.setdefault(row[1], set()).add(row[2])
    out = {row[1] for row in rows if row[0] == "out"}
    found = []
    for _, name, seconds, fixtures in (row for row in rows if row[0] == "test"):
        runs = [lines.get(who, set()) for who in (name, *(f"fixture {fixture}" for fixture in fixtures))]
        if name not in out:
            found.append(Test(name, seconds, set().union(*runs), runs[0]))
    return found


def choose(mutant: Mutant, tests: list[Test], seconds: float) -> list[str]:
    """Tests that cover a fault's line: one of each function first, shortest first; empty if none does.

    A test that covers the line only through a shared fixture comes last, because it may check a different part of the
    fixture's result.
    """
    path = mutant.file.relative_to(ROOT)
    module = f"[{'.'.join(path.with_suffix('').parts)}]"
    concerned: list[Test] = []
    wanted: set[str] = set()
    for first, last, defines in _statements(mutant):
        wanted = {f"{path}:{line}" for line in range(first, last + 1)}
        if concerned := [test for test in tests if test.lines & wanted or (defines and module in test.name)]:
            break
    own = f"test_{mutant.file.stem}.py"
    turns: dict[str, int] = {}
    ranked = []
    for test in sorted(concerned, key=lambda test: test.seconds):
        function = test.name.partition("[")[0]
        turns[function] = turns.get(function, -1) + 1
        shared = not test.own & wanted
        ranked.append((turns[function], shared, own not in test.name, test.seconds, test.name))
    chosen, total = [], 0.0
    for *_, cost, name in sorted(ranked):
        if not chosen or total + cost <= seconds:
            chosen.append(name)
            total += cost
    return chosen


def _statements(mutant: Mutant) -> Iterator[tuple[int, int, bool]]:
    """Line ranges to try in turn: the fault's statement without its body; for code that runs on import, larger ones.

    The last value says whether the statement runs on import, so that a test of the module's defaults may see the fault.
    """
    inside = [
        node
        for node in ast.walk(ast.parse(mutant.source))
        if isinstance(node, ast.stmt) and _first(node) <= mutant.line <= (node.end_lineno or 0)
    ]
    inside.sort(key=lambda node: (node.end_lineno or 0) - _first(node))
    inner = inside[0]
    if isinstance(inner, ast.FunctionDef | ast.ClassDef):
        yield inner.body[0].lineno, inner.end_lineno or 0, True
    elif any(isinstance(node, ast.FunctionDef) for node in inside):
        body = getattr(inner, "body", None)
        yield inner.lineno, max(inner.lineno, body[0].lineno - 1) if body else inner.end_lineno or 0, False
        return
    yield from ((_first(node), node.end_lineno or 0, True) for node in inside if isinstance(node, ast.ClassDef))
    yield 1, 10**6, True


def _first(node: ast.stmt) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


# --- execution -------------------------------------------------------------------------------------------------------
class Ended(NamedTuple):
    """Pytest's exit status and the first failed test."""

    status: int
    failed: str


class Chosen:
    """A pytest plug-in that runs given tests in order and records which fail.

    Args:
        tests: Node ids. If a fault changes the parameters of a test, all tests of its function run.
        output: Receives the id of each failed test, one per line.
    """

    def __init__(self, tests: list[str], output: Path) -> None:
        self.tests, self.output = tests, output

    def pytest_collection_modifyitems(self, items):
        """See pytest."""
        named = {item.nodeid: item for item in items}
        changed = {name.partition("[")[0] for name in self.tests if name not in named}
        others = [item for name, item in named.items() if name.partition("[")[0] in changed]
        items[:] = dict.fromkeys([*(named[name] for name in self.tests if name in named), *others])

    def _report(self, report):
        if report.outcome == "failed":
            with self.output.open("a") as file:
                file.write(report.nodeid + "\n")

    pytest_runtest_logreport = pytest_collectreport = _report


def _pytest(tests: list[str], limit: float, recorder: Recorder | None = None, mutant: Mutant | None = None) -> Ended:
    """Run pytest in a fork, up to the first failure. Exceeding `limit` seconds of processor time is a failure."""
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        failed = Path(folder) / "failed"
        if (child := os.fork()) == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5))
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            if mutant:
                sys.meta_path.insert(0, Finder(mutant))
            import pytest

            if recorder:
                for name in ("pytest_runtest_protocol", "pytest_fixture_setup"):
                    setattr(Recorder, name, pytest.hookimpl(wrapper=True)(getattr(Recorder, name)))
                recorder.start()
            plugin = recorder or Chosen(tests, failed)
            quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
            quiet += ["-m", "not gpu and not slow", "-k", "not compil"]  # One compilation takes ten seconds.
            files = dict.fromkeys(name.partition("::")[0] for name in tests)
            words = [*([] if recorder else ["-x"]), *quiet, f"--basetemp={folder}/tmp", *files]
            os._exit(min(int(pytest.main(words, plugins=[plugin])), 9))
        until, status = time.monotonic() + HANGS, -1
        while time.monotonic() < until:
            done, found = os.waitpid(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(found)
                break
            time.sleep(0.02)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print(f"waited {HANGS} s for {mutant.name if mutant else tests}", flush=True)
        return Ended(status, failed.read_text().split("\n")[0] if failed.is_file() else "")


def survey(name: str, most: int, seed: int, seconds: float, known: dict[str, str]) -> tuple[int, int, int]:
    """Test the mutants of a room; return the numbers of detected, equivalent and tested mutants."""
    room = ROOMS[name]
    files = _files(room.modules)
    tests = tests_of(room, files)
    cost = {test.name: test.seconds for test in tests}
    good: set[str] = set()
    detected = same = tried = 0
    for mutant in draw(files, most, seed):
        tried += 1
        print(f"\r{name}: {detected} of {tried}", end="\033[K", file=sys.stderr)
        chosen = choose(mutant, tests, seconds)
        while chosen:
            limit = 20 + 5 * sum(cost[test] for test in chosen)
            ended = _pytest(chosen, limit, mutant=mutant)
            if ended.status == 0 or ended.failed in good or "::" not in ended.failed:
                break
            if ended.failed not in cost or _pytest([ended.failed], limit).status == 0:
                good.add(ended.failed)
                break
            print(f"fails without a fault, excluded: {ended.failed}", flush=True)
            tests = [test for test in tests if test.name != ended.failed]
            chosen = [test for test in chosen if test != ended.failed]
        if chosen and ended.status != 0:
            detected += 1
            continue
        why = known.get(mutant.name)
        same += why is not None
        place = f"{mutant.file.relative_to(ROOT)}:{mutant.line}"
        what = f"equivalent, {why}" if why else "undetected" if chosen else "covered by no test"
        print(f"{what}: {place}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
        if chosen and not why:
            print(f"    {len(chosen)} tests, such as {', '.join(chosen[:3])}", flush=True)
    total = sum(len(places(file)) for file in files)
    print(f"{name}: {detected} of {tried} detected, {same} equivalent; sampled from {total} places", flush=True)
    return detected, same, tried


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help=", ".join(ROOMS))
    parser.add_argument("--most", type=int, default=10**9, help="faults per room, sampled at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    parser.add_argument("--seconds", type=float, default=20.0, help="processor time of the tests for one fault")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ.update(OMP_NUM_THREADS="1", WANDB_MODE="disabled")
    for name in HEAVY:
        importlib.import_module(name)
    known = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
    rows = [survey(name, given.most, given.seed, given.seconds, known) for name in given.rooms]
    detected, same, tried = (sum(column) for column in zip(*rows, strict=True))
    print(f"score: {detected} of {tried}, {detected / max(1, tried):.1%}; {same} of the others are equivalent")


if __name__ == "__main__":
    main()
