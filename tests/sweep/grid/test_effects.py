"""The effect of a parameter is computed over runs that differ in nothing else."""

import csv

import pytest

from tests.runs.factory import BINARIZERS, XNOR, write_run
from xnorlit.runs import read
from xnorlit.sweep.grid import Grid, Outcome
from xnorlit.sweep.grid.effects import combinations, effects
from xnorlit.sweep.grid.sheet import sheets, write

# Top-1 of 1,000 images by (scale, gradient, seed).
RIGHT = {
    ("none", "ste", 0): 600, ("none", "ste", 1): 620, ("none", "paper", 0): 610, ("none", "paper", 1): 650,
    ("alpha", "ste", 0): 630, ("alpha", "ste", 1): 640, ("alpha", "paper", 0): 605,
}  # fmt: skip


@pytest.fixture
def outcomes(tmp_path, monkeypatch):
    found = []
    for (scale, gradient, seed), right in RIGHT.items():
        monkeypatch.setitem(BINARIZERS, f"{scale}-{gradient}", XNOR)
        path = write_run(tmp_path, f"{scale}-{gradient}", seed, right=right, summary={"cannot_pack": ""})
        varied = {"scale": scale, "gradient": gradient, "seed": seed}
        found.append(Outcome({f"model.{key}": value for key, value in varied.items()}, varied, read(path)))
    return found


def test_a_parameters_effect_by_hand(outcomes):
    found = {(effect.label, effect.value): effect for effect in effects(outcomes)}
    assert list(found) == [("scale", "none"), ("scale", "alpha"), ("gradient", "ste"), ("gradient", "paper")]
    alpha = found["scale", "alpha"]
    # Against none, all else alike: 63 - 60, 64 - 62, 60.5 - 61; the missing run has no pair.
    assert alpha.pairs == 3
    assert alpha.change == pytest.approx((3 + 2 - 0.5) / 3)
    assert alpha.spread == pytest.approx(1.8027756)
    assert alpha.mean == pytest.approx(62.5)
    assert (found["scale", "none"].change, found["scale", "none"].runs) == (None, 4)
    paper = found["gradient", "paper"]
    assert paper.change == pytest.approx((1 + 3 - 2.5) / 3)


def test_seeds_of_a_combination_are_its_spread(outcomes):
    first = combinations(outcomes)[0]
    assert first.varied == {"scale": "none", "gradient": "ste"}
    assert first.row.top1 == {0: 60.0, 1: 62.0}
    assert first.row.spread == pytest.approx(2**0.5)
    assert first.row.gap is None, "there is no float twin"


def test_the_float_twin_is_found_and_gaps_are_to_it(outcomes, tmp_path):
    twin = read(write_run(tmp_path, "float", right=760))
    more = [*outcomes, Outcome({}, {"scale": "Float", "gradient": "ste", "seed": 0}, twin)]
    found = {tuple(each.varied.values()): each for each in combinations(more)}
    assert found["Float", "ste"].twin
    assert found["none", "ste"].row.gap == pytest.approx(16.0), "with the twin of the same seed"
    cells = dict(zip(sheets(more)[0].head, sheets(more)[0].rows[-1], strict=True))
    assert cells["gap to the twin"] == "float twin"


def test_the_files_hold_every_run_and_every_effect(outcomes, tmp_path):
    grid = Grid(tmp_path / "g.yaml", "g", "Does it matter?", {}, ())
    page, lines = write(grid, outcomes, tmp_path)
    text = page.read_text()
    assert text.startswith("# g\n\nDoes it matter?\n")
    assert "| none | ste | 61.00 ± 1.41 | 0: 60.00, 1: 62.00 | 21.0 | " in text
    assert "| scale | alpha | 3 | 62.50 | +1.50 ± 1.80 | 3 |" in text
    rows = list(csv.DictReader(lines.open()))
    assert [float(row["top1"]) for row in rows] == [right / 1000 for right in RIGHT.values()]
    assert rows[-1]["model.gradient"] == "paper"
    assert read(rows[-1]["run"]).place.arm == "alpha-paper"
