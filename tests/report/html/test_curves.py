"""Curves match the runs' logs: means over seeds, gaps of paired seeds, and layers if logged."""

import csv
from pathlib import Path

import pytest

from tests.report.html.numbers import Page
from tests.runs.factory import write_run
from xnorlit.commands.report import report
from xnorlit.report.html.curves import curves, layer_curves, mean
from xnorlit.runs import read


def log(path: Path, columns: dict[str, list[float | str]]) -> None:
    """Writes one row per epoch."""
    with (path / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", *columns])
        for epoch, values in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([epoch, 100 * epoch + 99, *values])


def test_the_gap_is_the_references_minus_the_arms_seed_by_seed(tmp_path):
    values = {("xnor", 0): [0.25, 0.5], ("xnor", 1): [0.5, 0.5], ("float", 0): [0.5, 0.75], ("float", 1): [0.5, 0.5]}
    arms: dict[str, list] = {"xnor": [], "float": []}
    for (arm, seed), top1 in values.items():
        path = write_run(tmp_path, arm, seed)
        log(path, {"val/top1": top1})
        arms[arm].append(read(path))
    found = curves(arms, [("xnor", "float")])
    (gap,) = found["gaps"]
    assert gap == {
        "arm": "xnor", "reference": "float", "epoch": [1, 2], "value": [12.5, 12.5], "least": [0, 0], "most": [25, 25],
    }  # fmt: skip
    assert found["metrics"]["val/top1"]["xnor"]["mean"] == {"epoch": [1, 2], "value": [0.375, 0.5]}
    assert set(found["metrics"]) == {"val/top1"}


def test_a_mean_covers_the_epochs_that_all_seeds_have():
    lines = [{"epoch": [1, 2, 3], "value": [1.0, 2.0, 3.0]}, {"epoch": [2, 3], "value": [4.0, None]}]
    assert mean(lines) == {"epoch": [2, 3], "value": [3.0, None]}


def test_layers_are_drawn_where_they_were_logged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arm in ("xnor", "float"):
        path = write_run(Path("runs"), arm)
        if arm == "xnor":
            log(
                path,
                {"layer/conv2/flips": [0.1, 0.05], "layer/conv2/saturated": [0.4, 0.5], "layer/conv2/alpha": [1, 1]},
            )
    (found,) = layer_curves({arm: [read(Path(f"runs/synthetic/pair-0/{arm}/seed-0"))] for arm in ("xnor", "float")})
    assert found["arm"] == "xnor"
    assert {what: lines["conv2"]["value"] for what, lines in found["what"].items()} == {
        "flips": [0.1, 0.05],
        "saturated": [0.4, 0.5],
    }
    html = report().read_text()
    assert "Share of the weights whose sign changed since the previous report: xnor" in html
    assert Page.of(html).unclosed == []


def test_an_arm_without_layer_curves_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arm in ("xnor", "float"):
        write_run(Path("runs"), arm)
    html = report().read_text()
    assert "xnor logged no flip rates and no saturation: an earlier version of xnorlit trained it" in html


@pytest.mark.parametrize("left", ["epoch,step,train/loss\n0,99,2.0\n", "epoch,step\n"])
def test_runs_that_logged_no_accuracy_still_have_a_page(tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    for arm in ("xnor", "float"):
        (write_run(Path("runs"), arm) / "metrics.csv").write_text(left)
    assert "No run logged its validation accuracy by epoch" in report().read_text()
