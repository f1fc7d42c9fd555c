"""The Makefile: `make` explains itself, sets itself up, and passes its variables on.

The set-up script really runs, in a copy of the Makefile and its files. python, pip and apt-get are fakes that record
their calls.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("make") or not shutil.which("bash"), reason="needs make and bash")

PYTHON = f"""#!{sys.executable}
import os, pathlib, shutil, sys, time
def note(line):
    with open(os.environ["CALLS"], "a") as calls:
        print(line, file=calls)
def fails(what):
    return what in os.environ.get("FAIL", "").split(",")
args = sys.argv[1:]
if args[:2] == ["-m", "venv"]:
    bin = pathlib.Path(args[2], "bin")
    bin.mkdir(parents=True)
    shutil.copy(__file__, bin / "python")
elif args[:3] == ["-m", "pip", "wheel"]:
    note("pip wheel " + args[-1])
    if fails("ffcv"):
        sys.exit("fatal error: no such header")
    folder = pathlib.Path(args[args.index("--wheel-dir") + 1])
    folder.mkdir()
    (folder / "ffcv-1-py3-none-any.whl").touch()
elif args[:3] == ["-m", "pip", "install"]:
    note("pip " + " ".join(args[2:]))
    time.sleep(float(os.environ.get("PIP_SECONDS", "0")))
    if fails("pip"):
        sys.exit("ERROR: no network")
elif args[:2] == ["-m", "pip"]:
    pass
elif args[0] == "-":
    print("[set-up] all there")
elif "version_info" in args[1] and "OLD" in os.environ:
    print("3.9")
    sys.exit("sys.exit" in args[1])
elif fails("venv") and "ensurepip" in args[1] or 'version("ffcv")' in args[1]:
    sys.exit(1)
else:
    os.execv(sys.executable, [sys.executable, *args])
"""
IMPOSTORS = {
    "python3": PYTHON,
    "g++": "#!/bin/sh\n",
    "id": '#!/bin/sh\necho "${USER_ID:-1000}"\n',
    "sudo": "#!/bin/sh\nexit 1\n",
    "pkg-config": '#!/bin/sh\n[ -e "$LIBRARIES" ]\n',
    # Knows no package before `update`, like the apt-get of a fresh container.
    "apt-get": """#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case $1 in
  update) touch "$LIBRARIES.known" ;;
  install) [ -e "$LIBRARIES.known" ] && touch "$LIBRARIES" ;;
esac
""",
}


class Clone:
    """A folder with the Makefile and its files, and a PATH on which the fakes come first."""

    def __init__(self, folder: Path):
        self.home = folder / "a clone"
        self.calls_file, self.libraries = folder / "calls", folder / "libraries"
        self.calls_file.touch()
        self.libraries.touch()
        (self.home / "scripts").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "scripts/setup.sh"):
            shutil.copy(ROOT / name, self.home / name)
        (folder / "bin").mkdir()
        for name, text in IMPOSTORS.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        ours = ("MAKE", "MFLAGS", "DATA", "EXPERIMENT", "SEED", "ARGS", "PYTHON", "PIP_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment |= {"CALLS": str(self.calls_file), "LIBRARIES": str(self.libraries)}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["make", *words],
            cwd=self.home,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def make(self, *words: str, status: int = 0, **environment: str) -> str:
        process = self.start(*words, **environment)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == status, output
        return output

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    @property
    def installs(self) -> list[str]:
        return [call for call in self.calls if call.startswith("pip install")]

    @property
    def stamp(self) -> Path:
        return self.home / ".venv" / ".stamp"


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_help_is_what_make_alone_prints_and_names_every_target_and_variable(clone):
    output = clone.make()
    assert clone.make("help") == output
    assert output.startswith("xnorlit: train, compare and pack binary networks\n")
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for target in set(phony[1].split()) - {"help", "FORCE"}:
        assert re.search(rf"^  make {target} +\w.{{10,}}$", output, re.MULTILINE), target
    for variable in ("DATA", "EXPERIMENT", "SEED", "ARGS", "PYTHON"):
        assert re.search(rf"^  {variable} +\w.{{10,}}$", output, re.MULTILINE), variable
    assert clone.calls == []


AUTO = ["--run.resume", "auto"]


@pytest.mark.parametrize("arm", ["xnor", "float", "bwn"])
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ([], ["--seed", "0", *AUTO]),
        (["DATA=my photos", "SEED=3"], ["--data", "my photos", "--seed", "3", *AUTO]),
        (["DATA=it's; here"], ["--data", "it's; here", "--seed", "0", *AUTO]),
        (["EXPERIMENT=cifar10", "ARGS=-x 'a b'"], ["--experiment", "cifar10", "--seed", "0", *AUTO, "-x", "a b"]),
    ],
)
def test_a_training_target_passes_the_variables_on(clone, arm, variables, words):
    command = clone.make("-n", f"train-{arm}", *variables).splitlines()[-1]
    assert shlex.split(command) == [".venv/bin/xnorlit", "train", arm, *words]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("pack", ["pack", "--or-random-weights"]),
        ("bench", ["bench"]),
        ("compare", ["compare"]),
        ("ablation", ["ablate", "smallest"]),
    ],
)
def test_a_target_is_its_command_with_the_further_words(clone, target, words):
    command = clone.make("-n", target, "ARGS=--root 'my runs'").splitlines()[-1]
    assert shlex.split(command) == [".venv/bin/xnorlit", *words, "--root", "my runs"]


def test_notebooks_are_executed_by_the_environments_own_python(clone):
    command = clone.make("-n", "notebooks", "ARGS=02 04").splitlines()[-1]
    assert shlex.split(command) == [".venv/bin/python", "scripts/notebooks.py", "02", "04"]


def test_packing_and_measuring_happen_one_after_the_other(clone):
    clone.make("setup")
    tool = clone.home / ".venv" / "bin" / "xnorlit"
    tool.write_text('#!/bin/sh\necho "$1 begins" >>"$CALLS"\nsleep 0.5\necho "$1 ends" >>"$CALLS"\n')
    tool.chmod(0o755)
    clone.make("-j4", "pack", "bench")
    assert clone.calls[-4:] == ["pack begins", "pack ends", "bench begins", "bench ends"]


def test_setup_installs_once_and_again_when_pyproject_changes(clone):
    assert "[set-up] all there" in clone.make("setup")
    assert clone.stamp.read_text() == f"{clone.home.resolve()}\n"
    assert clone.calls == [
        "pip wheel ffcv>=1.0.2",
        "pip install --editable .[dev,ffcv] .venv/wheels/ffcv-1-py3-none-any.whl",
    ]
    clone.make("setup")
    assert len(clone.installs) == 1
    kept = clone.home / ".venv" / "kept"
    kept.touch()
    later = time.time() + 5
    os.utime(clone.home / "pyproject.toml", (later, later))
    clone.make("setup")
    assert len(clone.installs) == 2
    assert kept.exists()


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_setup_does_not_look_finished_and_restarts(clone, blow):
    process = clone.start("setup", PIP_SECONDS="60")
    deadline = time.monotonic() + 30
    while not clone.installs and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, blow)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert clone.installs
    assert not clone.stamp.exists()
    half_made = clone.home / ".venv" / "half-made"
    half_made.touch()
    clone.make("setup")
    assert clone.stamp.exists()
    assert not half_made.exists()


def test_two_setups_at_once_install_once(clone):
    first, second = (clone.start("setup", PIP_SECONDS="1") for _ in range(2))
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert len(clone.installs) == 1
    assert sum("another set-up is running" in output for output in outputs) == 1


def test_a_failed_install_says_so_and_leaves_no_stamp(clone):
    output = clone.make("setup", status=2, FAIL="pip")
    assert "ERROR: no network" in output
    assert "pip could not install" in output
    assert not clone.stamp.exists()


def test_a_moved_clone_is_set_up_again(clone):
    clone.make("setup")
    clone.home = clone.home.rename(clone.home.with_name("elsewhere"))
    assert "moved" in clone.make("setup")
    assert len(clone.installs) == 2
    assert clone.stamp.read_text() == f"{clone.home.resolve()}\n"


def test_a_virtual_environment_made_by_hand_is_kept(clone):
    own = clone.home / ".venv" / "own"
    (own.parent / "bin").mkdir(parents=True)
    own.touch()
    shutil.copy(shutil.which("python3", path=clone.environment["PATH"]) or "", own.parent / "bin" / "python")
    clone.make("setup")
    assert own.exists()
    assert clone.stamp.exists()


def test_an_old_python_is_refused_with_the_remedy(clone):
    output = clone.make("setup", status=2, OLD="1")
    assert "Python 3.9; xnorlit needs 3.11" in output
    assert "PYTHON=" in output


def test_a_missing_python_is_named(clone):
    output = clone.make("setup", "PYTHON=python7", status=2)
    assert "no Python called python7" in output


def test_debians_missing_venv_module_is_named_as_a_package(clone):
    output = clone.make("setup", status=2, FAIL="venv")
    assert f"sudo apt-get install python3.{sys.version_info.minor}-venv" in output


def test_missing_libraries_without_root_are_named_and_the_folder_backend_goes_on(clone):
    clone.libraries.unlink()
    output = clone.make("setup")
    assert "sudo apt-get install -y libturbojpeg0-dev libopencv-dev" in output
    assert "make -B setup" in output
    assert clone.calls == ["pip install --editable .[dev]"]
    clone.libraries.touch()
    clone.make("-B", "setup")
    assert "--editable .[dev,ffcv]" in clone.installs[-1]


def test_root_gets_the_missing_libraries_with_fresh_lists(clone):
    clone.libraries.unlink()
    clone.make("setup", USER_ID="0")
    first, update, again = [call for call in clone.calls if call.startswith("apt-get")]
    assert first == again
    assert first.endswith("libturbojpeg0-dev libopencv-dev")
    assert update == "apt-get update"
    assert "--editable .[dev,ffcv]" in clone.installs[-1]


def test_a_failed_ffcv_build_is_reported_with_its_log_and_set_up_continues(clone):
    output = clone.make("setup", FAIL="ffcv")
    assert "FFCV DID NOT COMPILE" in output
    assert "no such header" in (clone.home / ".venv" / "ffcv-build.log").read_text()
    assert clone.installs == ["pip install --editable .[dev]"]
    assert clone.stamp.exists()


def test_clean_keeps_the_runs(clone):
    clone.make("setup")
    run = clone.home / "runs" / "summary.json"
    run.parent.mkdir()
    run.touch()
    for folder in ("xnorlit", "tests"):
        (clone.home / folder / "__pycache__").mkdir(parents=True)
    assert "runs/ is kept" in clone.make("clean")
    assert run.exists()
    assert not (clone.home / ".venv").exists()
    assert not list(clone.home.rglob("__pycache__"))


def test_ci_runs_the_linters_the_documentation_then_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make .*?([\w-]+)$", script.read_text(), re.MULTILINE) == ["lint", "docs", "test-wheel", "test"]
