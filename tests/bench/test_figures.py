import pytest

from xnorlit.bench.figures import Figure, exactly, ratio
from xnorlit.bench.row import BEST_FP32, Row, packed
from xnorlit.bench.turns import Turns


def test_a_figure_is_the_median_with_its_quartiles():
    assert Figure.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Figure(median=3, lower=2, upper=4, least=1, rounds=5)


def test_one_round_is_its_own_quartiles():
    assert Figure.of([7.0]) == Figure(7, 7, 7, 7, 1) == exactly(7)


def test_the_spread_is_the_quartiles_distance_over_the_median():
    assert Figure(median=4, lower=3, upper=5, least=1, rounds=9).spread == 0.5


def test_a_ratio_is_taken_round_by_round():
    # The second round is slow for both. The ratio of the medians would be 30 / 3 = 10.
    assert ratio(over=[20, 90, 30], ours=[1, 3, 5]) == Figure(median=20, lower=13, upper=25, least=6, rounds=3)


def test_rounds_of_two_sides_must_pair_up():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def row(**samples):
    named = {name.replace("_", " "): times for name, times in samples.items()}
    return Row("conv3", batch=1, threads=2, turns=Turns(named, named))


def test_torchs_best_is_the_side_with_the_smallest_median():
    times = {"fp32": [9, 9, 1], "fp32 channels_last": [4, 5, 6], packed("avx2"): [1, 1, 2]}
    first = {"fp32": [60] * 3, "fp32 channels_last": [50] * 3, packed("avx2"): [10] * 3}
    found = Row("conv3", 1, 1, Turns(times, first))
    assert found.best_fp32 == "fp32 channels_last"
    assert found.over(BEST_FP32, packed("avx2")).median == 4
    assert found.over("fp32", packed("avx2")).median == 9
    assert found.first_over(BEST_FP32, packed("avx2")).median == 5


def test_torchs_best_is_the_compiled_network_where_that_is_faster():
    times = {"fp32": [9, 9, 1], "fp32 channels_last": [4, 5, 6], "torch.compile": [3, 3, 9], packed("avx2"): [1, 1, 2]}
    first = {"fp32": [60] * 3, "fp32 channels_last": [50] * 3, "torch.compile": [40] * 3, packed("avx2"): [10] * 3}
    found = Row("network", 1, 1, Turns(times, first))
    written = found.to_json()
    ratios = {each["over"]: each["median"] for each in written["ratios"]}
    assert found.best_fp32 == written["best_fp32"] == "torch.compile"
    assert ratios[BEST_FP32] == ratios["torch.compile"] == 3
    assert found.first_over(BEST_FP32, packed("avx2")).median == 4


def test_a_side_that_was_not_measured_has_no_ratio():
    assert row(fp32=[1.0], packed_avx2=[1.0]).over("onnxruntime int8", packed("avx2")) is None


def test_a_row_has_every_ratio_and_the_gain_of_the_second_thread():
    found = row(fp32=[8.0], packed_avx2=[2.0], packed_avx2_one_thread=[3.0]).to_json()
    assert {(r["over"], r["ours"]): r["median"] for r in found["ratios"]} == {
        ("torch's best fp32", "packed avx2"): 4,
        ("fp32", "packed avx2"): 4,
        ("torch's best fp32", "packed avx2 one thread"): pytest.approx(8 / 3),
        ("fp32", "packed avx2 one thread"): pytest.approx(8 / 3),
    }
    assert found["threads_over_one"]["packed avx2"]["median"] == 1.5
