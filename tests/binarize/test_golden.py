"""Each binarizer computes what it computed when the published numbers were made, up to fp64 rounding."""

import json

import pytest
import torch

from tests.binarize import golden

TABLE = json.loads(golden.FILE.read_text())


@pytest.mark.parametrize("case", TABLE)
def test_outputs_gradients_and_states_are_unchanged(case):
    name, settings = json.loads(case)
    found = golden.computed(name, settings)
    assert found.keys() == TABLE[case].keys()
    for key, expected in TABLE[case].items():
        one, other = (torch.tensor(value, dtype=torch.float64) for value in (found[key], expected))
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")


def test_every_case_has_a_row():
    assert sorted(TABLE) == sorted(json.dumps([name, settings]) for name, settings in golden.cases())
