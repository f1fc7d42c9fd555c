"""`xnorlit ablate` prints its plan, trains what is missing, and reports failures."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.runs.factory import BINARIZERS, write_run
from tests.sweep.ended import Ended
from xnorlit.commands.main import main
from xnorlit.commands.resolve import resolved
from xnorlit.errors import UserError
from xnorlit.runs.config import flatten
from xnorlit.runs.settings import given
from xnorlit.sweep import grid as ablation
from xnorlit.sweep import work
from xnorlit.sweep.grid import plan

RIGHT = {("Float", 0): 760, ("Float", 1): 770, ("XNOR", 0): 680, ("XNOR", 1): 670, ("BWN", 0): 720, ("BWN", 1): 730}
RUNS = Path("runs/tiny/pair-0")


ANSWERS = {}
"""The real parser's result for a command line; all tests share the recipes."""


def asked(jobs):
    """The parser's answers, each computed once."""
    lines = [job.argv for job in jobs]
    new = [words for words in lines if words not in ANSWERS]
    ANSWERS.update(zip(new, resolved(new) if new else [], strict=True))
    return [found.get("error") or flatten(found["config"]) for found in (ANSWERS[words] for words in lines)]


@pytest.fixture
def trained(small, monkeypatch):
    """The arguments of each training. The test writes the runs, with the real parser's configuration."""
    began = []

    def process(command, **_):
        words = command[4:]
        began.append(words)
        found = ANSWERS[tuple(word for word in words if word not in ("--run.fresh", "true"))]
        filed = found["config"]["run"]
        arm, seed = filed["arm"], int(given(words, "seed_everything") or 0)
        if (arm, seed) not in RIGHT:
            return Ended(2)
        path = Path(filed["root"], filed["experiment"], filed["pair"], arm, f"seed-{seed}")
        if given(words, "run.fresh"):
            path.rename(path.with_name(f"seed-{seed}.until-now"))
        monkeypatch.setitem(BINARIZERS, arm, BINARIZERS["float" if arm == "Float" else "xnor"])
        summary = {"cannot_pack": "", "binary_parameters": 0} if arm == "Float" else {"cannot_pack": ""}
        if arm == "Float":
            summary["bits"] = {"float": 100, "packed": 100, "binary": 0}
        write_run(
            Path(filed["root"]), arm, seed, right=RIGHT[arm, seed], experiment=filed["experiment"], summary=summary
        )
        (path / "config.yaml").write_text(yaml.safe_dump(found["config"]))
        return Ended(0)

    monkeypatch.setattr(plan, "settings", asked)
    monkeypatch.setattr(work, "Process", process)
    monkeypatch.setattr(work, "PAUSE", 0)
    return began


def test_a_dry_run_lists_and_does_nothing(trained, capsys):
    before = sorted(Path().rglob("*"))
    assert main(["ablate", "tiny.yaml", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "4 runs: binarizer Float, XNOR; seed 0, 1\n          in runs/tiny/pair-0\n[state]   4 missing\n" in told
    assert "its recipe, experiments/tiny/base.yaml, says: a moment on any machine" in told
    assert [line.split() for line in told.splitlines()[-4:]] == [
        ["1", "Float", "0", "missing", "?", "Float/seed-0"],
        ["2", "Float", "1", "missing", "?", "Float/seed-1"],
        ["3", "XNOR", "0", "missing", "?", "XNOR/seed-0"],
        ["4", "XNOR", "1", "missing", "?", "XNOR/seed-1"],
    ]
    assert trained == []
    assert sorted(Path().rglob("*")) == before


def test_it_trains_what_is_missing_and_tabulates_everything(trained, capsys):
    assert main(["ablate", "tiny.yaml"]) == 0
    assert len(trained) == 4
    told = capsys.readouterr().out
    assert "1/4  Float, seed 0 starts; log: runs/tiny/pair-0/Float/seed-0.log" in told
    assert "done: XNOR, seed 1, top-1 67.00 %: runs/tiny/pair-0/XNOR/seed-1" in told
    text = (RUNS / "ablation.md").read_text()
    assert "| Float | 76.50 ± 0.71 | 0: 76.00, 1: 77.00 | float twin |" in text
    assert "| XNOR | 67.50 ± 0.71 | 0: 68.00, 1: 67.00 | 9.00 |" in text
    assert "| binarizer | XNOR | 2 | 67.50 | -9.00 ± 1.41 | 2 |" in text
    assert main(["ablate", "tiny.yaml"]) == 0
    assert len(trained) == 4, "what has finished is not trained again"
    assert "4 finished" in capsys.readouterr().out


def test_a_second_grid_on_the_same_place_trains_what_it_adds(trained, small, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    main(["ablate", "tiny.yaml"])
    small({"model.binarizer": {"values": ["Float", "XNOR", "BWN"]}, "seed_everything": {"values": [0, 1]}})
    capsys.readouterr()
    assert main(["ablate", "tiny.yaml"]) == 0
    assert len(trained) == 6
    told = capsys.readouterr().out
    # Factory runs took 252 s for two epochs on two threads; two are left, of two epochs each.
    assert "about 8 min (2 threads; from its 4 finished runs)" in told
    outcomes = ablation.read("tiny.yaml")
    assert [tuple(outcome.varied.values()) for outcome in outcomes][-1] == ("BWN", 1)
    assert outcomes[-1].parameters == {"model.binarizer": "BWN", "seed_everything": 1}
    assert outcomes[-1].run.summary.top1 == 0.73


def test_a_failing_run_is_named_and_the_others_finish(trained, small, capsys):
    small({"model.binarizer": {"values": ["BNN", "XNOR"]}})
    assert main(["ablate", "tiny.yaml"]) == 2
    assert len(trained) == 2
    out, err = capsys.readouterr()
    assert "1 of 2 runs failed:\n  runs/tiny/pair-0/BNN/seed-0: see runs/tiny/pair-0/BNN/seed-0.log" in err
    assert "1 of 2 runs: runs/tiny/pair-0/ablation.md" in out
    with pytest.raises(UserError, match="1 of 2 runs failed"):
        ablation.trained("tiny.yaml")


def test_a_finished_run_with_another_configuration_does_not_count_for_the_grid(trained, small, capsys):
    main(["ablate", "tiny.yaml"])
    both = {"model.binarizer": {"values": ["Float", "XNOR"]}, "seed_everything": {"values": [0, 1]}}
    small({**both, "trainer.max_epochs": {"value": 3}})
    capsys.readouterr()
    assert main(["ablate", "tiny.yaml"]) == 2
    out, err = capsys.readouterr()
    assert "4 other configuration" in out
    assert "runs/tiny/pair-0/XNOR/seed-1 differs from the grid" in out
    assert "trainer.max_epochs: started with 2, now 3" in out
    assert "4 of 4 runs were started with a configuration that differs" in err
    assert ablation.read("tiny.yaml") == []
    assert len(trained) == 4
    assert main(["ablate", "tiny.yaml", "--again"]) == 0
    assert len(trained) == 8
    assert len(ablation.read("tiny.yaml")) == 4
    assert (RUNS / "XNOR" / "seed-1.until-now").is_dir()


def test_a_run_of_the_former_grid_never_counts_for_a_training_that_failed(trained, small, capsys, monkeypatch):
    main(["ablate", "tiny.yaml"])
    both = {"model.binarizer": {"values": ["Float", "XNOR"]}, "seed_everything": {"values": [0, 1]}}
    small({**both, "trainer.max_epochs": {"value": 3}})
    (RUNS / "ablation.md").unlink()
    monkeypatch.setattr(work, "Process", lambda *_, **__: Ended(1))  # before it moved the run aside
    assert main(["ablate", "tiny.yaml", "--again"]) == 2
    assert "4 of 4 runs failed" in capsys.readouterr().err
    assert (RUNS / "XNOR" / "seed-1" / "summary.json").is_file()
    assert not (RUNS / "ablation.md").exists()


def test_runs_stay_where_they_are_if_the_images_to_train_them_again_are_missing(trained, small, capsys):
    main(["ablate", "tiny.yaml"])
    both = {"model.binarizer": {"values": ["Float", "XNOR"]}, "seed_everything": {"values": [0, 1]}}
    small({**both, "trainer.max_epochs": {"value": 3}})
    Path("photos").rename("elsewhere")
    assert main(["ablate", "tiny.yaml", "--again"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert len(trained) == 4, "only the first trainings"
    assert (RUNS / "XNOR" / "seed-1").is_dir()


def test_other_images_are_filed_apart(trained):
    Path("photos").rename("pictures")
    assert main(["ablate", "tiny.yaml", "--data", "pictures", "--experiment", "other"]) == 0
    assert given(trained[0], "data.source") == "pictures"
    assert Path("runs/tiny@other@pictures/pair-0/Float/seed-0").is_dir()
    assert len(ablation.read("tiny.yaml", data="pictures", experiment="other")) == 4
    assert ablation.read("tiny.yaml") == []


@pytest.mark.parametrize(
    ("parameters", "line", "message"),
    [
        ({"model.binarizr": {"value": "XNOR"}}, "", r"no option --model.binarizr. Did you mean --model.binarizer?"),
        (None, "", "2 combinations would share the folder runs/tiny/pair-0/one/seed-0"),
        (None, "--jobs 0", "--jobs is 0. Expected a number"),
        (None, "--jobs two", "--jobs: expected a whole number, not 'two'"),
        (None, "--experiment nonesuch", "no recipe named nonesuch"),
        (
            {"model.binarizer": {"values": ["XNOR"]}, "model.network": {"value": "alexnet"}},
            "",
            "takes the sign of a ReLU's output",
        ),
    ],
)
def test_invalid_grids_are_refused_before_anything_is_trained(trained, small, capsys, parameters, line, message):
    small(parameters, arm="one")
    assert main(["ablate", "tiny.yaml", *line.split()]) == 2
    assert message in capsys.readouterr().err
    assert trained == []
    assert not Path("runs").exists()


def test_the_parsers_process_answers_for_every_run(small):
    """Only this test starts the process; the others call the same function directly."""
    grid = ablation.Grid.load("tiny.yaml")
    trials = plan.checked(grid, plan.planned(grid, plan.Base()))
    assert [trial.config["run.arm"] for trial in trials] == ["Float", "Float", "XNOR", "XNOR"]
    assert json.dumps(trials[0].config["data.source"]) == '"photos"'


@pytest.mark.parametrize("asked_for", [["--data", "nosuch"], []])
def test_images_that_are_not_there_are_refused_once_before_the_first_run(trained, capsys, asked_for):
    shutil.move("photos", "elsewhere")
    assert main(["ablate", "tiny.yaml", *asked_for]) == 2
    err = capsys.readouterr().err
    assert err.count("no such file or folder") == 1
    assert (asked_for or ["photos"])[-1] in err
    with pytest.raises(UserError, match="no such file or folder"):
        ablation.trained("tiny.yaml", data="nosuch" if asked_for else None)
    assert trained == []
    assert not Path("runs").exists()
    assert main(["ablate", "tiny.yaml", "--dry-run"]) == 0
