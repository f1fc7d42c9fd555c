"""The benchmarks run and say where they were measured; no test asserts a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name, *arguments):
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def test_the_step_benchmark_measures_every_arm_in_both_precisions(tmp_path):
    out = tmp_path / "steps.json"
    printed = run("step.py", "--batch", 2, "--rounds", 1, "--steps", 1, "--threads", 1, "--json", out)
    measured = json.loads(out.read_text())
    assert measured["processor"] in printed
    assert measured["torch"] in printed
    assert "--batch 2 --rounds 1" in measured["command"]
    assert measured["threads"] == 1
    assert measured["steps"].keys() == {"fp32", "bf16"}
    for arms in measured["steps"].values():
        assert arms.keys() == {"float", "bwn", "xnor-ste", "xnor", "xnor-k"}
        assert arms["float"]["ratio"] == 1
        assert all(row["lower_quartile"] <= row["ratio"] <= row["upper_quartile"] for row in arms.values())


def test_the_step_benchmark_takes_any_binarizer_by_its_name(tmp_path):
    out = tmp_path / "steps.json"
    options = ("--batch", 2, "--rounds", 1, "--steps", 1, "--threads", 1, "--precision", "fp32", "--json", out)
    run("step.py", *options, "--arms", "IRNet", "LatentFree")
    assert json.loads(out.read_text())["steps"]["fp32"].keys() == {"float", "IRNet", "LatentFree"}


@pytest.mark.parametrize("name", ["step.py", "loader.py"])
def test_every_benchmark_explains_its_options(name):
    if name == "loader.py":
        pytest.importorskip("ffcv")
    assert f"python benchmarks/{name}" in run(name, "--help")
    assert "--rounds" in run(name, "--help")
