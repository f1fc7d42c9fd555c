"""A record of a run is the run without its weights, and the tables of the READMEs are those of the records."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.factory import write_run
from xnorlit.commands.main import main
from xnorlit.runs import read
from xnorlit.runs.place import recipe_and_images
from xnorlit.sweep.table.markdown import BEGIN, END

ROOT = Path(__file__).parents[1]
PAIRS = sorted({run.parents[2] for run in (ROOT / "experiments").glob("*/records/*/*/*/seed-*/summary.json")})
# A variant of a recipe, such as another image size, is an experiment of its own, without a table in the README.
TABLES = [pair for pair in PAIRS if recipe_and_images(pair.parent.name)[0] == pair.parents[2].name]


def record(*words):
    command = [sys.executable, ROOT / "scripts" / "record.py", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_a_record_reads_like_its_run_and_has_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [write_run(Path("runs"), arm, right=right) for arm, right in (("float", 800), ("xnor", 700))]
    (runs[0] / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    (runs[0].parents[1] / "steps.json").write_text("{}")
    for _ in range(2):  # The second call replaces the records.
        done = record(*runs, "--into", "records")
        assert done.returncode == 0, done.stderr
    kept = Path("records") / "synthetic" / "pair-0"
    assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == sorted(
        2 * ["config.yaml", "environment.json", "metrics.csv", "predictions.safetensors", "summary.json"]
        + ["steps.json"]
    )
    for run in map(read, runs):
        copy = read(kept / run.place.arm / "seed-0")
        assert (copy.config, copy.summary, copy.environment) == (run.config, run.summary, run.environment)
        assert (copy.predictions.top5 == run.predictions.top5).all()
        assert copy.curves.series.keys() == run.curves.series.keys()


def test_a_run_that_was_moved_aside_replaces_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("runs"), "xnor", right=700)
    write_run(Path("elsewhere"), "xnor", right=100).rename(run.with_name("seed-0.until-20260101-000000"))
    assert record(*sorted(run.parent.glob("seed-*/")), "--into", "records").returncode == 0
    assert read(Path("records/synthetic/pair-0/xnor/seed-0")).summary.top1 == 0.7


@pytest.mark.parametrize("given", ["--data.source /home/me/photos", "--data.source=/photos", "-c [~/photos]"])
def test_a_run_whose_files_name_a_machine_is_refused_before_any_copy(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [
        write_run(Path("runs"), "float"),
        write_run(Path("runs"), "xnor", environment={"command": f"xnorlit fit {given}"}),
    ]
    done = record(*runs, "--into", "records")
    assert done.returncode == 1
    named = re.search(r"[/~][\w/]+", given)[0]
    assert f"{runs[1]}/environment.json contains the path {named}, " in done.stderr
    assert not Path("records").exists()


def test_the_times_of_a_pair_that_name_a_machine_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("runs"), "float")
    (run.parents[1] / "steps.json").write_text('{"machine": {"command": "steps /home/me/runs"}}')
    done = record(run, "--into", "records")
    assert done.returncode == 1
    assert "steps.json contains the path /home/me/runs" in done.stderr


def test_a_run_is_never_replaced_by_its_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("runs"), "float")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = record(run, "--into", "runs")
    assert done.returncode == 1
    assert f"{run} is the run itself" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_tests_below_have_records():
    assert "imagenette@imagenette-224" in {pair.parent.name for pair in TABLES}


@pytest.mark.parametrize("pair", TABLES, ids=[f"{pair.parent.name}/{pair.name}" for pair in TABLES])
def test_the_table_of_a_readme_is_that_of_the_records(pair, tmp_path, monkeypatch):
    home = pair.parents[2]
    shutil.copytree(home, tmp_path / "experiments" / home.name, ignore=shutil.ignore_patterns("records"))
    folder = home.name if pair.name.startswith("pair-") else f"{home.name}/{pair.name}"
    readme = tmp_path / "experiments" / folder / "README.md"
    before = table_of(readme)
    monkeypatch.chdir(tmp_path)
    # As `xnorlit table` names an experiment: RECIPE@FOLDER for a folder of photographs.
    images = recipe_and_images(pair.parent.name)[1]
    named = ["--data", Path(images)] if images else []
    for path in named[1:]:
        path.mkdir()
    words = ["table", folder, "--no-training", "--seeds", "3", "--root", pair.parents[1], "--pair", pair.name, *named]
    assert main(list(map(str, words))) == 0
    assert table_of(readme) == before


def table_of(readme: Path) -> str:
    found = re.search(f"{BEGIN}\n(.*){END}", readme.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{pair.parent.name}/{pair.name}" for pair in PAIRS])
def test_a_record_was_trained_from_a_clean_checkout_and_agrees_with_itself(pair):
    for file in pair.glob("*/seed-*/summary.json"):
        run = read(file.parent)
        assert re.fullmatch("[0-9a-f]{40}", run.environment.commit or "")
        assert not run.environment.dirty
        assert run.predictions.correct(1).mean() == pytest.approx(run.summary.top1, abs=1e-6)
        assert json.loads(file.read_text())["epochs"] == run.config["trainer"]["max_epochs"]
