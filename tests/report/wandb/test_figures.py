"""The pair's own run matches the record; its name depends only on the pair."""

import csv
from pathlib import Path

import pytest

from tests.report.html.test_measured import bench
from tests.runs.factory import PACKED_BITS, PARAMETERS
from xnorlit.comparison.compare import compare
from xnorlit.report.html.record import record
from xnorlit.report.wandb.figures import Figures, bars, figures


@pytest.fixture
def shown(pair) -> dict:
    return record(compare())


def logged(run: str) -> list[float]:
    """Validation top-1 by epoch, from the run's own file."""
    with Path(run, "metrics.csv").open(newline="") as file:
        return [float(row["val/top1"]) for row in csv.DictReader(file) if row["val/top1"]]


def test_the_gap_is_that_of_the_run_directories_epoch_by_epoch(shown):
    rows = figures(shown).rows
    place = "runs/synthetic/pair-0/{}/seed-{}"
    gaps = [
        [100 * (t - m) for t, m in zip(logged(place.format("float", s)), logged(place.format("xnor", s)), strict=True)]
        for s in (0, 1)
    ]
    assert [row["epoch"] for row in rows] == [0, 1]  # as training counts them
    for row, pair_of_seeds in zip(rows, zip(*gaps, strict=True), strict=True):
        assert row["gap/xnor"] == pytest.approx(sum(pair_of_seeds) / 2)
        assert row["gap/xnor/least"] == pytest.approx(min(pair_of_seeds))
        assert row["gap/xnor/most"] == pytest.approx(max(pair_of_seeds))


def test_an_epoch_without_a_number_is_a_hole_in_the_curve(shown):
    shown["curves"]["gaps"][0]["value"][0] = None
    first, second = figures(shown).rows
    assert "gap/xnor" not in first
    assert {"gap/xnor", "gap/xnor/least", "gap/xnor/most", "epoch"} == set(second)


def test_sizes_and_times_are_those_of_the_runs(shown):
    found = figures(shown).bars
    assert found == pytest.approx(
        {
            "packed/xnor": PACKED_BITS / 2**23, "packed/float": 32 * PARAMETERS / 2**23,
            "trained/xnor": 32 * PARAMETERS / 2**23, "trained/float": 32 * PARAMETERS / 2**23,
            "step/xnor": 21.0, "step/float": 20.0, "training/xnor": 4.2, "training/float": 4.0,
        }
    )  # fmt: skip


def test_the_time_of_an_image_is_there_with_a_bench_of_this_network_only(pair):
    import json

    Path("bench.json").write_text(json.dumps(bench()))
    comparison = compare()
    assert bars(record(comparison, bench=Path("bench.json")), "image") == [("xnor", 2.0), ("float", 12.0)]
    Path("bench.json").write_text(json.dumps(bench("alexnet-xnor")))
    assert bars(record(comparison, bench=Path("bench.json")), "image") == []


def test_the_name_is_the_pairs_and_the_digest_the_contents():
    one = Figures("a/pair-0", [{"epoch": 0, "gap/xnor": 1.0}], {"step/xnor": 2.0})
    other = Figures("a/pair-0", [{"epoch": 0, "gap/xnor": 1.5}], {"step/xnor": 2.0})
    assert one.id == other.id != Figures("a/pair-1", [], {}).id
    assert one.contents != other.contents
    assert len(one.id) <= 64  # W&B takes no longer one
