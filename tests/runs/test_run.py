"""A run directory reads back completely, or the error says why not."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.runs.factory import BINARY, PACKED_BITS, PARAMETERS, write_run
from xnorlit.errors import UserError
from xnorlit.runs import Place, Run, read
from xnorlit.runs.config import differing, load_config


def test_a_finished_run_reads_back_what_was_written(tmp_path):
    run = read(write_run(tmp_path, "xnor", 3, right=650, started="2026-02-03T04:05:06Z"))
    assert run.place == Place(tmp_path, "synthetic", "pair-0", "xnor", 3)
    assert run.place.path == run.path
    assert run.flat_config["model.optimizer.init_args.lr"] == 0.003
    assert run.flat_config["trainer.logger.0.init_args.name"] == "xnor"
    assert run.flat_config["model.layers"] is None
    assert (run.summary.top1, run.summary.parameters, run.summary.binary_parameters) == (0.65, PARAMETERS, BINARY)
    assert run.summary.packed_bits == PACKED_BITS
    assert run.environment.started == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert run.environment.packages["torch"] == "2.4.0"
    assert run.environment.gpu is None
    assert run.predictions.correct(1).sum() == 650
    assert len(run.curves["val/top1"].value) == 2


def test_a_binary_weight_carries_its_share_of_alpha_and_thresholds(tmp_path):
    run = read(write_run(tmp_path, "xnor"))
    assert run.summary.bits_per_binary_weight == pytest.approx(1.0768, abs=1e-4)
    assert read(write_run(tmp_path, "float")).summary.bits_per_binary_weight is None


def test_an_older_run_without_that_count_reads(tmp_path):
    run = read(write_run(tmp_path, "xnor", summary={"bits": {"float": 32 * PARAMETERS, "packed": PACKED_BITS}}))
    assert run.summary.bits_per_binary_weight is None


def test_predictions_and_curves_are_read_when_asked_for(tmp_path):
    path = write_run(tmp_path, "xnor")
    (path / "predictions.safetensors").unlink()
    (path / "metrics.csv").unlink()
    run = read(path)
    with pytest.raises(UserError, match=r"predictions\.safetensors is missing"):
        _ = run.predictions
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read: No such file"):
        _ = run.curves


def test_a_run_copied_out_of_its_folders_keeps_its_place(tmp_path):
    path = write_run(tmp_path / "runs", "xnor", 2)
    copy = shutil.copytree(path, tmp_path / "kept")
    assert read(copy).place == Place(Path("runs"), "synthetic", "pair-0", "xnor", 2)


def test_a_place_is_spelled_by_a_paths_last_names(tmp_path, monkeypatch):
    assert Place.of(Path("/runs/cifar10/pair-1/bwn/seed-12")) == Place(Path("/runs"), "cifar10", "pair-1", "bwn", 12)
    assert Place.of(Path("/runs/cifar10/pair-1/bwn/seed-x")) is None
    assert Place.of(Path("/bwn/seed-1")) is None
    inside = tmp_path / "runs" / "cifar10" / "pair-1" / "bwn" / "seed-1"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert Place.of(Path()) == Place(tmp_path / "runs", "cifar10", "pair-1", "bwn", 1)


def test_seeds_sort_as_numbers():
    places = [Place(Path("runs"), "e", "p", "xnor", seed) for seed in (10, 9, 0)]
    assert [place.seed for place in sorted(places)] == [0, 9, 10]


def test_an_unfinished_run_says_how_to_resume(tmp_path):
    path = write_run(tmp_path, "xnor", finished=False)
    with pytest.raises(
        UserError,
        match=r"seed-0 is not finished: .*or failed, in epoch 2 of 2\. Resume it with the training command",
    ):
        read(path)


@pytest.mark.parametrize("left", ["", "epoch,step,val/top1\n0,99,0.3\n1,14", "epoch,step\n"])
def test_partial_files_do_not_hide_that_a_run_is_unfinished(tmp_path, left):
    path = write_run(tmp_path, "xnor", finished=False)
    (path / "metrics.csv").write_text(left)
    with pytest.raises(UserError, match=r"seed-0 is not finished: .*stopped, or failed(, in epoch 1 of 2)?\. Resume"):
        read(path)


def test_a_mistyped_path_names_the_nearest_that_exists(tmp_path):
    path = write_run(tmp_path, "xnor")
    with pytest.raises(UserError, match=re.escape(f"Did you mean {path.parent}?")):
        read(tmp_path / "synthetic" / "pair-0" / "xnro" / "seed-0")
    with pytest.raises(UserError, match=re.escape(f"Did you mean {path}?")):
        read(path.parent / "seed-1")


def test_a_path_like_no_other_names_what_lies_there(tmp_path):
    for name in (".git", "runs", "data"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=re.escape(f"Found in {tmp_path}: data, runs. A run is")):
        read(tmp_path / "cifar10-best")


def test_a_folder_of_runs_lists_them(tmp_path):
    path = write_run(tmp_path, "xnor")
    with pytest.raises(UserError, match=re.escape(f"is not a run but a folder of runs (1). Give one of them: {path}.")):
        read(tmp_path / "synthetic")


def test_a_folder_that_is_not_a_run_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"is not a run: it has no config\.yaml"):
        read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"is a file\. Expected a run directory"):
        read(tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", "a: [", r"(?s)config\.yaml is damaged .*Expected YAML"),
        ("config.yaml", "- 1", r"config\.yaml contains no settings. Expected a mapping"),
        ("config.yaml", "!!python/object/apply:os.getcwd []", r"config\.yaml is damaged"),
        ("summary.json", '{"status": "fin', r"summary\.json is damaged .*Expected JSON"),
        ("summary.json", "[]", r"summary\.json: expected an object, found \[\]\. Train the run again"),
        ("summary.json", '{"status": "running"}', "status: expected 'finished', found 'running'"),
        ("summary.json", '{"status": "finished", "bits": {}}', "top1: missing"),
        ("environment.json", "", r"environment\.json is damaged"),
        ("environment.json", "{}", "packages: missing"),
        ("environment.json", "\udcff", r"environment\.json is damaged"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, file, content, message):
    path = write_run(tmp_path, "xnor")
    (path / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("top1", 68.0, "top1: expected a number of 0 to 1, found 68.0"),
        ("top1", "0.68", "top1: expected a number of 0 to 1, found '0.68'"),
        ("epochs", True, "epochs: expected a whole number of at least 0, found True"),
        ("parameters", -1, "parameters: expected a whole number of at least 1, found -1"),
        ("parameters", 5, "binary_parameters: expected at most 5, found 1,458,688"),
        ("train_seconds", float("nan"), "train_seconds: expected a number of at least 0, found nan"),
        ("bits", {"float": 1}, "summary.json: bits.packed: missing"),
        ("bits", {"float": 1, "packed": 0}, "bits.packed: expected a whole number of at least 1, found 0"),
        ("synthetic", 1, "synthetic: expected true or false, found 1"),
    ],
)
def test_a_summary_field_of_the_wrong_kind_is_named(tmp_path, field, value, message):
    path = write_run(tmp_path, "xnor", summary={field: value})
    with pytest.raises(UserError, match=re.escape(message)):
        read(path)


def test_a_run_without_git_or_with_a_gpu_reads(tmp_path):
    run = read(write_run(tmp_path, "xnor", environment={"git": None, "gpu": "A GPU"}))
    assert isinstance(run, Run)
    assert (run.environment.commit, run.environment.dirty, run.environment.gpu) == (None, False, "A GPU")


@pytest.mark.parametrize("text", ["2026-02-03T04:05:06+0000", "2026-02-03T06:05:06+02:00", "2026-02-03T04:05:06"])
def test_a_time_is_read_in_each_notation(tmp_path, text):
    run = read(write_run(tmp_path, "xnor", started=text))
    assert run.environment.started == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_an_invalid_time_is_named(tmp_path):
    path = write_run(tmp_path, "xnor", started="yesterday")
    with pytest.raises(UserError, match=r"started: expected a date and time such as 2026-.*, found 'yesterday'"):
        read(path)


def test_fields_that_training_may_add_do_not_disturb(tmp_path):
    path = write_run(tmp_path, "xnor", summary={"new": [1]}, environment={"new": {}})
    assert json.loads((path / "summary.json").read_text())["new"] == [1]
    assert read(path).summary.epochs == 2


@pytest.mark.parametrize("again", ["network: alexnet-small", "binarizer:\n    class_path: XNOR"])
def test_a_duplicate_key_in_a_recorded_configuration_is_refused(tmp_path, again):
    file = tmp_path / "config.yaml"
    file.write_text(f"model:\n  network: alexnet\n  binarizer: Float\n  {again}\n")
    with pytest.raises(UserError, match=rf"config\.yaml is damaged.*key '{again.split(':')[0]}' is given twice"):
        load_config(file)


@pytest.mark.parametrize(
    ("begun", "now", "differ"),
    [
        ({"data.global_batch": 64}, {"data.global_batch": 64, "trainer.devices": 2, "data.batch_size": 8}, []),
        ({"data.global_batch": None}, {"data.global_batch": 64, "trainer.devices": 2}, []),
        ({"data.global_batch": 64}, {"data.global_batch": 32}, ["data.global_batch: started with 64, now 32"]),
        ({"data.global_batch": 64}, {"data.global_batch": None}, ["data.global_batch: started with 64, now None"]),
        ({"data.global_batch": None}, {"data.global_batch": None, "trainer.devices": 2}, ["trainer.devices: started"]),
        ({"data.global_batch": 64}, {"data.global_batch": 64, "model.lr": 2}, ["model.lr: started with 1, now 2"]),
    ],
)  # fmt: skip
def test_a_run_may_resume_on_other_devices_with_the_same_global_batch(begun, now, differ):
    common = {"trainer.devices": 1, "data.batch_size": 64, "model.lr": 1}
    lines = differing({**common, **now}, {**common, **begun})
    assert len(lines) == len(differ)
    assert all(line.startswith(start) for line, start in zip(lines, differ, strict=True))
