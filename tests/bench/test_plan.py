"""A plan is hand-checked arithmetic over its assumptions, each with its source."""

from pathlib import Path

import pytest

from xnorlit.bench.plan import DECODED, GPUS, Given, Work, plan

WORK = Work(macs=10**9, parameters=10**8, images=10**6, epochs=10, batch=1000)
DOCS = Path(__file__).parents[2] / "docs"


def test_a_steps_time_is_the_sum_of_its_parts():
    found = plan(WORK, "a100", 4, Given(share=0.5))
    assert found.seconds["computing"] == pytest.approx(6 * 10**9 * 1000 / (4 * 312e12 * 0.5))
    assert found.seconds["memory"] == pytest.approx(28 * 10**8 / 2.039e12)
    assert found.seconds["gradient exchange"] == pytest.approx(2 * 3 / 4 * 4 * 10**8 / 300e9)
    step = sum(found.seconds.values())
    assert found.rate == found.needed == pytest.approx(1000 / step)
    assert found.hours == pytest.approx(10 * 10**6 / found.rate / 3600)
    assert found.gpu_hours == pytest.approx(4 * found.hours)
    assert found.cores_per_gpu == pytest.approx(found.needed / 4 / DECODED)


def test_one_gpu_exchanges_nothing():
    assert plan(WORK, "h100", 1, Given()).seconds["gradient exchange"] == 0


def test_a_measured_step_replaces_the_assumption():
    found = plan(WORK, "h100", 1, Given(step=2000))
    assert found.rate == pytest.approx(2000)
    assert not any("ASSUMED" in each.source for each in found.assumptions)


@pytest.mark.parametrize(("cores", "limit"), [(1, "loader"), (64, "computing")])
def test_too_few_cores_make_the_loader_the_limit(cores, limit):
    found = plan(WORK, "h100", 1, Given(step=5000, cores=cores))
    assert found.limit == limit
    assert found.rate == pytest.approx(min(5000, cores * DECODED))
    assert found.needed == pytest.approx(5000)


def test_the_cost_is_the_price_of_all_gpu_hours():
    assert plan(WORK, "h100", 2, Given()).cost is None
    found = plan(WORK, "h100", 2, Given(price=3))
    assert found.cost == pytest.approx(3 * found.gpu_hours)


def test_every_number_has_a_source_and_only_what_was_measured_is_called_so():
    for name in GPUS:
        for each in plan(WORK, name, 8, Given(cores=8, price=2)).assumptions:
            assert each.source
            assert ("measured" in each.source) == (each.what in ("images/s of a core", "share of the peak"))


def test_measured_figures_are_in_the_docs():
    assert f"| {DECODED:,.0f} |" in (DOCS / "data.md").read_text()
