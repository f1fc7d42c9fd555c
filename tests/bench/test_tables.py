"""The tables compare what computes alike."""

import pytest

from xnorlit.bench.row import OV_AVX2, OV_BINARY, OV_BYTE_ENDS, OV_INT8, Row, packed
from xnorlit.bench.tables import opponents
from xnorlit.bench.turns import Turns

# Ours: 3 and 4 ms with fp32 ends, 1 and 2 ms with int8 ends.
OURS = {("avx512", "float"): 3, ("avx2", "float"): 4, ("avx512", "int8"): 1, ("avx2", "int8"): 2}
THEIRS = {"fp32": 12, OV_INT8: 6, OV_BINARY: 9, OV_BYTE_ENDS: 5, OV_AVX2["float"]: 8, OV_AVX2["int8"]: 7}


def cells(ours):
    """Each opponent's cell of a network's row, by heading."""
    milliseconds = {packed(isa, ends=ends): value for (isa, ends), value in ours.items()} | THEIRS
    samples = {side: [value / 1000] for side, value in milliseconds.items()}
    document = {"limits_path": "avx512", "rows": [Row("network", 1, 1, Turns(samples, samples)).to_json()]}
    return {
        heading: cell
        for table in opponents(document, network=True)
        for heading, cell in zip(table.headings, table.rows[0], strict=True)
        if "OpenVINO" in table.title or heading != "int8"
    }


@pytest.mark.parametrize("first", ["float", "int8"])
def test_an_opponent_is_divided_by_our_network_with_the_same_ends(first):
    found = cells(dict(sorted(OURS.items(), key=lambda each: each[0][1] != first)))
    expected = {"int8": "6 (2.0 x)", "binary": "9 (3.0 x)", "binary int8 ends": "5 (5.0 x)"}
    expected |= {"binary avx2": "8 (2.0 x)", "binary int8 ends avx2": "7 (3.5 x)"}
    assert {heading: found[heading] for heading in expected} == expected


def test_an_opponent_whose_ends_we_have_not_is_divided_by_nothing():
    found = cells({key: value for key, value in OURS.items() if key[1] == "int8"})
    assert (found["binary"], found["binary int8 ends"]) == ("9 (- x)", "5 (5.0 x)")
