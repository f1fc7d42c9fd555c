"""Only one process of a run prints and writes, whatever launched it."""

import pytest

from xnorlit.edge.console import say
from xnorlit.edge.processes import is_first

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


@pytest.mark.parametrize(
    ("ranks", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),  # torchrun
        ({"RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),  # of the second machine
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # Lightning's launcher within one task
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"RANK": ""}, True),
    ],
)
def test_the_first_process_of_all_machines_speaks(ranks, first, monkeypatch, capsys):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    assert is_first() is first
    say("tag", "text")
    assert bool(capsys.readouterr().out) is first
