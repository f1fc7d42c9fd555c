"""Every combination of every grid takes a training step and a validation, so that none fails when its turn comes."""

from pathlib import Path

import pytest

from xnorlit.commands.main import main
from xnorlit.sweep.grid import Grid
from xnorlit.sweep.grid.argv import Base
from xnorlit.sweep.grid.plan import planned

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "experiments" / "ablations").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_combination_trains(file, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    rehearsal = ("--data.backend=folder", "--data.batch_size=4", "--data.workers=0", "--trainer.fast_dev_run=1")
    trials = planned(Grid.load(file), Base(data=str(tmp_path / "photos"), root=tmp_path / "runs"))
    for trial in trials:
        if trial.job.place.seed == 0:
            assert main(["fit", *trial.job.argv, *rehearsal, "--run.wandb=off", "--debug"]) == 0
    assert capsys.readouterr().out.count("[done]") == len({trial.job.place.arm for trial in trials})
