"""A grid's stored runs come first. Without any, a small part of it is trained briefly."""

import pytest

from xnorlit.errors import UserError
from xnorlit.sweep.grid import Grid, brief

FILE = "smallest"


@pytest.fixture
def asked(monkeypatch):
    """The calls of `read` and `trained`, which find and train nothing here."""
    calls, stored = [], []
    monkeypatch.setattr(brief, "read", lambda grid, root: calls.append(("read", grid, root)) or list(stored))
    monkeypatch.setattr(brief, "trained", lambda grid, root, jobs: calls.append(("trained", grid, root)) or ["new"])
    return calls, stored


def test_stored_runs_are_shown_and_nothing_is_trained(asked, tmp_path, capsys):
    calls, stored = asked
    stored += ["one", "two"]
    assert brief.outcomes(FILE, tmp_path / "runs", tmp_path / "brief", keep={}) == ["one", "two"]
    assert [what for what, *_ in calls] == ["read"]
    assert "2 of 6 runs of smallest have finished" in capsys.readouterr().out


def test_without_stored_runs_a_part_is_trained_apart_and_announced(asked, tmp_path, capsys):
    calls, _ = asked
    keep = {"model.binarizer": ("Float", "XNOR"), "seed_everything": (1,)}
    assert brief.outcomes(FILE, tmp_path / "runs", tmp_path / "brief", keep=keep) == ["new"]
    (_, whole, root), (what, small, apart) = calls
    assert (root, what, apart) == (tmp_path / "runs", "trained", tmp_path / "brief")
    assert whole == Grid.load(FILE)
    assert small.parameters == {
        "model.binarizer": ("Float", "XNOR"), "seed_everything": (1,),
        "trainer.max_epochs": (brief.EPOCHS,), "run.wandb": ("off",),
    }  # fmt: skip
    assert "Training 2 of them for 2 epochs" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("keep", [{"model.binarizer": ("XNORR",)}, {"model.other": ("XNOR",)}, {"seed_everything": ()}])
def test_values_missing_in_the_grid_are_refused(keep):
    with pytest.raises(UserError, match="smallest: cannot keep"):
        brief.shortened(Grid.load(FILE), keep)
