"""`xnorlit report` writes its page whatever W&B does; `--wandb` decides whether a W&B failure is an error."""

import shutil
from pathlib import Path

import pytest

from xnorlit.commands.main import main
from xnorlit.commands.report import report
from xnorlit.errors import UserError

PAGE = Path("runs/synthetic/pair-0/report.html")


@pytest.fixture
def recipe(pair):
    """The pair, in a folder that has the dashboard's settings where the repository has them."""
    Path("experiments").mkdir()
    shutil.copy(Path(__file__).parents[3] / "experiments" / "dashboard.yaml", "experiments")
    return pair


def test_with_a_login_the_page_and_the_dashboard_are_built(recipe, uploaded, capsys):
    assert main(["report"]) == 0
    said = capsys.readouterr().out
    assert PAGE.exists()
    assert (len(uploaded.reports()), len(uploaded.workspaces())) == (1, 1)
    assert f"{uploaded.address}/me/xnorlit/reports/What-binarising-costs-synthetic-pair-0--" in said
    del uploaded.runs["float1"]
    assert main(["dashboard", "synthetic/pair-0"]) == 0
    said = capsys.readouterr().out
    assert "note: these runs are not on W&B and have no curves there: float/seed-1. Upload them: xnorlit sync" in said
    assert (len(uploaded.reports()), len(uploaded.workspaces())) == (1, 1)


def test_without_a_login_the_page_is_written_and_one_line_says_how_to_get_the_other(recipe, capsys):
    assert main(["report"]) == 0
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if "W&B" in line]
    assert "not logged in, so no dashboard. To build it, log in once (wandb login" in line
    assert "xnorlit sync and xnorlit report" in line
    assert PAGE.exists()
    assert main(["dashboard"]) == 2


def test_a_server_failure_is_reported_and_is_an_error_only_with_wandb_on(recipe, uploaded, capsys):
    uploaded.refuses = lambda path, body: 401
    assert main(["report"]) == 0
    said = capsys.readouterr().out
    assert "the server refuses the key" in said
    assert "The page above is complete without the dashboard." in said
    PAGE.unlink()
    assert main(["report", "--wandb", "on"]) == 2
    assert "the server refuses the key" in capsys.readouterr().err
    assert PAGE.exists()


def test_the_settings_are_part_of_it(recipe, uploaded, capsys):
    Path("experiments/dashboard.yaml").write_text("tilte: x\n")
    assert main(["report"]) == 0
    assert "unknown key 'tilte'; did you mean 'title'?" in capsys.readouterr().out
    assert main(["dashboard"]) == 2


def test_off_contacts_no_server(recipe, uploaded, capsys):
    assert main(["report", "--wandb", "off"]) == 0
    assert "W&B" not in capsys.readouterr().out
    assert uploaded.asked == []


def test_single_runs_do_not_make_a_dashboard(recipe, uploaded, capsys):
    runs = [f"runs/synthetic/pair-0/{arm}/seed-1" for arm in ("xnor", "float")]
    report(runs, out=Path("two.html"))
    assert uploaded.asked == []
    with pytest.raises(UserError, match=r"single runs were given with --wandb on, but a dashboard shows a whole pair"):
        report(runs, out=Path("three.html"), wandb="on")
    assert (Path("two.html").exists(), Path("three.html").exists()) == (True, False)
