"""A recipe names training aids by short name. Mistakes in it are explained before anything is read."""

from pathlib import Path

import pytest
import yaml

from xnorlit.commands.main import main

RECIPE = Path(__file__).parents[2] / "experiments" / "cifar10"


def fit(tmp_path, *words):
    files = ("-c", str(RECIPE / "base.yaml"), "-c", str(RECIPE / "xnor.yaml"))
    return main(["fit", *files, "--run.root", str(tmp_path / "runs"), *words])


def test_aids_are_known_by_their_short_names(tmp_path, capsys):
    with pytest.raises(SystemExit):
        fit(tmp_path, "--trainer.callbacks", "[TwoStages, EMAWeightAveraging]", "--print_config")
    listed = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert [one["class_path"].rpartition(".")[2] for one in listed] == ["TwoStages", "EMAWeightAveraging"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("trainer.callbacks", "[TwoStage]", "no callback named TwoStage. Did you mean TwoStages? Known: "),
        ("trainer.callbacks", "[{class_path: TwoStages, init_args: {share: 2}}]", "TwoStages.share is 2.0. Expected"),
        ("trainer.callbacks", "[{class_path: TwoStages, init_args: {real: all}}]", "Expected one of weights, inputs"),
        ("trainer.callbacks", "[{class_path: LayerCurves, init_args: {every: 0}}]", "LayerCurves.every is 0. Expected"),
        ("model.losses", "[CrossEntrop]", "no loss named CrossEntrop. Did you mean CrossEntropy? Known: "),
        ("model.losses", "[{class_path: CrossEntropy, init_args: {smooth: 1}}]", "Did you mean smoothing?"),
        ("model.losses", "CrossEntropy", "model.losses is CrossEntropy. Expected a list"),
    ],
)
def test_wrong_settings_are_reported_and_leave_nothing(option, value, message, tmp_path, capsys):
    assert fit(tmp_path, f"--{option}", value) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Union subtypes" not in told
    assert not (tmp_path / "runs").exists()
