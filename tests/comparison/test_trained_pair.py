"""A comparison reads what training writes."""

import json
from pathlib import Path

import pytest

from tests.report.html.recount import recount
from tests.report.html.test_every_number import everything_wrong
from xnorlit.commands.compare import compare
from xnorlit.commands.report import report as write_page
from xnorlit.runs import read

RECIPE = Path(__file__).parents[2] / "experiments" / "synthetic"


@pytest.mark.slow
def test_a_pair_trained_for_two_steps_compares_as_matched_and_has_a_page_of_its_numbers(tmp_path, monkeypatch, capsys):
    from xnorlit.commands.fit import run

    monkeypatch.chdir(tmp_path)
    for arm, binarizer in (("xnor", "XNOR"), ("float", "Float")):
        options = ["--run.arm", arm, "--run.wandb", "off", "--model.binarizer", binarizer]
        brief = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.backend", "folder"]
        run("fit", ["-c", str(RECIPE / "base.yaml"), *options, *brief])
    capsys.readouterr()
    compare(json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["matched"], record["gaps"][0]["difference"]
    assert record["synthetic"]
    assert [(arm["label"], arm["binarizer"]) for arm in record["arms"]] == [("xnor", "XNOR"), ("float", "Float")]
    for arm in record["arms"]:
        trained = read(arm["seeds"][0]["run"])
        assert arm["top1_percent"]["mean"] == pytest.approx(100 * trained.summary.top1, abs=1e-3)
        assert trained.curves["val/top1"].value[-1] == pytest.approx(trained.summary.top1, abs=1e-6)
    assert everything_wrong(write_page().read_text(), recount(tmp_path / "runs" / "synthetic" / "pair-0")) == []
