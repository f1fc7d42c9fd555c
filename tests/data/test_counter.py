import numpy as np

from xnorlit.data import counter


def test_seed_7_epoch_1_is_not_seed_8_epoch_0():
    keys = {counter.key(seed, epoch) for seed in range(50) for epoch in range(50)}
    assert len(keys) == 2500


def test_a_number_does_not_depend_on_its_neighbours():
    whole = counter.uniform(counter.key(3), np.arange(1000), 5)
    assert np.array_equal(whole[[0, 17, 999]], counter.uniform(counter.key(3), [0, 17, 999], 5))
    assert whole[17] == counter.uniform(counter.key(3), 17, 5)[0]


def test_the_hash_is_the_published_splitmix64():
    # First outputs of SplitMix64 with seed 1234567, as printed by the reference C program of S. Vigna.
    state = np.array([1234567], np.uint64) + np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert counter._mix(state).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_the_numbers_of_published_runs_stay_the_same():
    key = counter.key(3, 1, 4)
    assert key == 15598590507273006687
    assert counter.bits(key, [0, 1, 1_000_000], [0, 2, 5]).tolist() == [
        4712623951113167548,
        143270016360697901,
        14990685596415944227,
    ]
    uniform = [float.fromhex(text) for text in ("-0x1.b18e33292a810p-3", "-0x1.52209ecb23318p-1")]
    assert counter.uniform(key, [0, 7], [0, 1], -2, 5).tolist() == uniform
    normal = [float.fromhex(text) for text in ("0x1.58f70f928079fp+0", "-0x1.40b47e851b687p+0")]
    np.testing.assert_allclose(counter.normal(key, [0, 7], [0, 1]), normal, rtol=1e-14)
    other = [float.fromhex(text) for text in ("0x1.e9594ep-1", "-0x1.517698p+0")]
    np.testing.assert_allclose(counter.normal_pairs(key, [0, 7], [0, 1]), [normal, other], rtol=1e-6)


def test_uniform_fills_its_range_evenly_and_draws_are_unrelated():
    first = counter.uniform(counter.key(1), np.arange(100_000), 0, low=-2, high=3)
    second = counter.uniform(counter.key(1), np.arange(100_000), 1, low=-2, high=3)
    histogram = np.histogram(first, bins=20, range=(-2, 3))[0]
    assert histogram.sum() == 100_000
    assert np.abs(histogram - 5000).max() < 5 * 5000**0.5
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.015


def test_normal_numbers_have_the_moments_of_a_normal():
    drawn = counter.normal(counter.key(1), np.arange(200_000), 0)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    assert abs((drawn**4).mean() - 3) < 0.1
    left, right = counter.normal_pairs(counter.key(1), np.arange(200_000), 0)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.01
