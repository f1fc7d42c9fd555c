"""Any mistake gives one message with what was given, expected and to do; no partial file, no traceback."""

import errno
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.one_parser import share_parser
from tests.runs.factory import write_run
from xnorlit.binarize import binarizers
from xnorlit.commands import main as cli
from xnorlit.data import beton
from xnorlit.errors import UserError, did_you_mean
from xnorlit.training import checkpoints, place

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
XNOR = f"-c {EXPERIMENTS}/cifar10/base.yaml -c {EXPERIMENTS}/cifar10/xnor.yaml"
QUICK = "--data.backend folder --data.batch_size 4 --trainer.precision 32-true --run.wandb off --run.experiment e"
FIT = f"fit {XNOR} {QUICK} --data.source photos --trainer.max_epochs 2"
KNOWN = ", ".join(binarizers())
TRAIN = f"train --experiments {EXPERIMENTS}"
RUN = Path("runs/e/pair-0/xnor/seed-0")


def tree(root: Path, splits: dict[str, str]) -> None:
    """`{"train": "ant bee"}` as folders of two images per class."""
    generator = np.random.default_rng(0)
    for split, classes in splits.items():
        for name in classes.split():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.fixture(autouse=True)
def place_to_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xnorlit"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    share_parser(monkeypatch.setattr)
    tree(tmp_path / "photos", {"train": "ant bee", "val": "ant bee"})


@pytest.fixture
def xnorlit(capsys):
    """Run a command line in this process; return its exit status, output and messages."""

    def run(line: str) -> tuple[int, str, str]:
        try:
            status = cli.main(line.split())
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        assert not re.search(r"[^\n\t -~\u00a0-\uffff]", out + err), "piped output has no control characters"
        return status, out, err

    return run


@pytest.fixture
def refused(xnorlit):
    """Run a command line that is refused, check the promises of every refusal, and return the message."""

    def run(line: str) -> str:
        before = {file for file in Path().rglob("*") if file.name != "data"}
        status, _, err = xnorlit(line)
        assert status == 2
        assert err.startswith("error: ")
        assert err.count("error:") == 1
        assert "Traceback" not in err
        assert "Parser key" not in err
        assert {file for file in Path().rglob("*") if file.name != "data"} == before, "nothing is half-written"
        return err.removeprefix("error: ")

    return run


# --- help -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", [*cli.COMMANDS, ""])
def test_help_is_on_stdout_and_says_what_a_command_does_with_an_example(xnorlit, command):
    status, out, err = xnorlit(f"{command} --help")
    assert (status, err) == (0, "")
    beginning = "\n".join(out.splitlines()[:12] if command in ("fit", "validate", "test", "predict") else [out])
    assert f"usage: xnorlit {command}".rstrip() in beginning
    assert re.search(r"Example: xnorlit " if command else "prepare +convert images to .beton", beginning)


def test_the_binarizers_and_the_settings_of_one_are_listed(xnorlit):
    status, out, _ = xnorlit("fit --model.binarizer.help")
    assert status == 0
    assert re.findall(r"^  (\w+) ", out, re.M) == list(binarizers())
    status, out, _ = xnorlit("fit --model.binarizer.help XNOR")
    assert status == 0
    assert "--model.binarizer.gradient {corrected,paper,ste}" in out
    assert "mean magnitude of its inputs" in " ".join(out.split())


def test_python_m_xnorlit_is_xnorlit():
    done = subprocess.run([sys.executable, "-m", "xnorlit", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, cli.usage())


# --- misspelt words -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trainn", r"unknown command trainn\. Did you mean train\?"),
        ("train", r"required: ARM\. See xnorlit train --help"),
        (f"{TRAIN} xnor --seed foo", r"--seed: expected a whole number, not 'foo'"),
        (f"{TRAIN} xnor --experiment cifar1", r"no recipe named cifar1\. Did you mean cifar10\? Known: cifar10, "),
        (f"{TRAIN} xnro --experiment cifar10", r"no arm xnro\. Did you mean xnor\? Known: .*bwn, .*float, .*xnor"),
        (f"{TRAIN} xnor --dta photos", r"no option --dta\. Did you mean --data\?"),
        (f"{TRAIN} xnor --data nowhere", r"no image set named nowhere, and no such file or folder"),
        (f"{TRAIN} xnor --data cifar100", r"Did you mean cifar10\?"),
        ("prepare", r"required: SRC, DST"),
        ("prepare photos out --skipbad", r"no option --skipbad\. Did you mean --skip-bad\?"),
        ("prepare photos out --quality best", r"--quality: expected a whole number, not 'best'"),
        ("compare --jsn", r"no option --jsn\. Did you mean --json\?"),
        ("fit", r"missing: model\.network, model\.binarizer\. Give a recipe, such as -c"),
        ("fit --data photos", r"--data is photos\. Expected a YAML file.* Did you mean --data\.source\?"),
        ("fit base.yaml", r"Give configuration files with -c: -c base\.yaml"),
        (f"{FIT} --trainer.max_epocs 3", r"no option --trainer\.max_epocs\. Did you mean --trainer\.max_epochs\?"),
        (f"{FIT} --max_epochs 3", r"Did you mean --trainer\.max_epochs\?"),
        (f"{FIT} --seed 3", r"Did you mean --seed_everything\?"),
        (f"{FIT} --model.network alexnet-smal", r"no network named alexnet-smal\. Did you mean alexnet-small\?"),
        (f"{FIT} --model.binarizer XNORR", rf"no binarizer named XNORR\. Did you mean XNOR\? Known: {KNOWN} \("),
        (f"{FIT} --model.layers {{conv2:XNORR}}", r"model\.layers"),
        (f"{FIT} --model.layers.conv22 Float", r"no layer of alexnet-small matches 'conv22'\. Did you mean conv2\?"),
        (f"{FIT} --model.binarizer.gradiet ste", r"XNOR has no setting gradiet .*Did you mean gradient\?"),
        (f"{FIT} --model.optimizer Adm", r"no optimizer named Adm\. Did you mean Adam\?"),
        (f"{FIT} --model.schedule WarmupCosin", r"no schedule named WarmupCosin\. Did you mean WarmupCosine\?"),
        (f"{FIT} --data.train_crop PadCrp", r"no crop named PadCrp\. Did you mean PadCrop\?"),
    ],
)  # fmt: skip
def test_a_misspelt_word_is_reported_with_the_near_miss(refused, line, message):
    assert re.search(message, refused(line))


def test_the_nearest_of_dotted_names_shares_the_last_part_or_the_parents():
    known = ["--trainer.max_epochs", "--trainer.min_epochs", "--data.batch_size", "--data", "--seed_everything"]
    assert did_you_mean("--batch_size", known) == " Did you mean --data.batch_size?"
    assert did_you_mean("--trainer.batch_size", known) == " Did you mean --data.batch_size?"
    assert did_you_mean("--trainer.max_epoch", known) == " Did you mean --trainer.max_epochs?"
    assert did_you_mean("--trainer.unlike", known) == ""


# --- wrong values ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model.binarizer.gradient foo", r"binarizer\.gradient is foo\. Expected one of corrected, paper, ste"),
        ("--model.binarizer DoReFa --model.binarizer.weight_bits 0", r"weight_bits is 0\. Expected a whole number"),
        ("--model.binarizer DoReFa --model.binarizer.input_bits 33", r"input_bits is 33\. Expected a whole number"),
        ("--model.binarizer DoReFa --model.binarizer.gradient_bits 1.5", r"gradient_bits is 1\.5\. Expected a whole"),
        ("--model.binarizer.gradient_bits 6", r"XNOR has no setting gradient_bits .*Known: gradient, center"),
        ("-c bits.yaml", r"weight_bits is 0\. Expected a whole number from 1 to 8, or 32"),
        ("-c override.yaml", r"input_bits is 33\. Expected a whole number from 1 to 8, or 32"),
        ("--data.backend ffvc", r"data\.backend is ffvc\. Expected one of auto, ffcv, folder\."),
        ("--data.batch_size 0", r"batch_size is 0\. Expected 1 or more"),
        ("--data.batch_size many", r"data\.batch_size is many\. Expected a whole number\."),
        ("--data.image_size 2 --data.train_crop CentreCrop", r"image is too small for this network.*data\.image_size"),
        ("--model.optimizer.lr fast", r"model\.optimizer\.lr is fast\. Expected a number\."),
        ("--trainer.max_epochs 0", r"trainer\.max_epochs is 0\. Expected a whole number from 1"),
        ("--trainer.max_epochs=-1", r"trainer\.max_epochs is -1\. Expected"),
        ("--trainer.limit_val_batches 0", r"trainer\.limit_val_batches is 0.* at least one batch"),
        ("--seed_everything=-1", r"the seed is -1\. Expected a whole number from 0"),
        ("--seed_everything 4294967296", r"the seed is 4294967296\. Expected a whole number from 0"),
        ("--seed_everything foo", r"the seed is foo\. Expected a whole number"),
        ("--trainer.devices 0", r"devices.*0.*See xnorlit fit --help"),
        ("--ckpt_path nowhere.ckpt", r"there is no checkpoint nowhere\.ckpt"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_was_expected(refused, options, message):
    Path("bits.yaml").write_text("model: {binarizer: {class_path: DoReFa, init_args: {weight_bits: 0}}}")
    Path("override.yaml").write_text("model: {layers: {conv2: {class_path: DoReFa, init_args: {input_bits: 33}}}}")
    assert re.search(message, refused(f"{FIT} {options}"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"configuration file mine\.yaml does not exist"),
        (b"model:\n  netwrk: alexnet", r"mine\.yaml: .* no setting named model\.netwrk\. Did you mean model\.network"),
        (b"mode1:\n  network: alexnet", r"mine\.yaml: there is no setting named mode1.*Did you mean model"),
        (b"model: [unclosed\n", r"mine\.yaml is not YAML, line 2"),
        (b"run: {pair: 2026-13-45}\n", r"mine\.yaml is not YAML: month must be in 1\.\.12"),
        (b"model: {}\ndata: {}\nmodel: {}\n", r"mine\.yaml is not YAML, line 3: key 'model' is given twice"),
        (b"model:\n  layers: {fc*: BWN, 'fc*': Float}", r"mine\.yaml is not YAML, line 2: key 'fc\*' is given twice"),
        (b"- a\n- b\n", r"mine\.yaml contains no settings"),
        (b"", r"mine\.yaml contains no settings"),
        (b"\x80\x81", r"mine\.yaml is not a text file"),
    ],
)  # fmt: skip
def test_a_configuration_file_is_named_with_what_is_wrong_in_it(refused, content, message):
    if content is not None:
        Path("mine.yaml").write_bytes(content)
    assert re.search(message, refused(f"{FIT} -c mine.yaml"))


# --- wrong data -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, r"has no train/"),
        ({"train": "ant", "val": "ant"}, r"holds one class, ant\. Expected a folder for each of two or more"),
        ({"train": "ant bee"}, r"neither val/ nor test/.*--data\.holdout 0\.1"),
        ({"train": "ant bee", "val": "ant cow"}, r"differ \(only in .*train: bee; only in .*val: cow\)"),
    ],
)
def test_a_tree_that_is_not_a_data_set_is_refused_with_what_it_lacks(refused, splits, message):
    Path("mine").mkdir()
    tree(Path("mine"), splits)
    assert re.search(message, refused(f"{FIT} --data.source mine"))
    assert re.search(message.split(r"\.\*")[0], refused("prepare mine betons"))


def test_an_empty_class_is_named(refused):
    Path("photos/train/cow").mkdir()
    assert re.search(r"class cow of photos/train holds no image", refused(f"{FIT}"))


def test_a_damaged_beton_is_named(xnorlit, refused):
    status, _, _ = xnorlit("prepare photos betons")
    assert status == 0
    whole = Path("betons/train.beton").read_bytes()
    Path("betons/train.beton").write_bytes(whole[: len(whole) // 2])
    assert re.search(r"train\.beton .*xnorlit prepare", refused(f"{FIT} --data.source betons"), re.S)
    other = bytearray(whole)
    start = beton.HEADER.itemsize + beton.FIELD.itemsize
    other[start : start + 7] = b"\x00target"
    Path("betons/train.beton").write_bytes(other)
    assert re.search(r"other fields: image .*target .*Expected image", refused(f"{FIT} --data.source betons"))


# --- prepare --------------------------------------------------------------------------------------------------------
def test_prepare_prints_what_it_wrote_what_it_skipped_and_the_next_command(xnorlit, refused):
    Path("photos/train/ant/2.png").write_bytes(b"not an image")
    assert re.search(r"photos/train/ant/2\.png cannot be read.*--skip-bad", refused("prepare photos betons"))
    for option in ("--shorter-side 40", "--shorter_side=40"):
        status, out, _ = xnorlit(f"prepare photos betons {option} --skip-bad")
        assert status == 0
        assert re.search(r"\[done\] +betons: 4 train and 4 val images; 1 unreadable files skipped\n", out)
        assert re.search(r"\[next\] +xnorlit train xnor --data betons\n", out)
    assert "nothing to do" in out


# --- checkpoints ----------------------------------------------------------------------------------------------------
class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: torch.save({"state_dict": {"weight": Code()}}, file), r"code besides weights"),
        (lambda file: file.write_bytes(pickle.dumps(Code())), r"is not a checkpoint of a training run"),
        (lambda file: file.write_bytes(b"nothing of the kind"), r"is not a checkpoint .*damaged \(19 bytes\)"),
        (lambda file: file.write_bytes(b""), r"is not a checkpoint .*damaged \(0 bytes\)"),
        (lambda file: torch.save({"state_dict": {}}, file), r"is not a checkpoint of a training run"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused_and_never_executed(refused, write, message):
    write(Path("mine.ckpt"))
    line = f"validate {XNOR} --data.backend folder --data.source photos"
    assert re.search(message, refused(f"{line} --ckpt_path mine.ckpt"))
    assert not Path("ran").exists()


def test_measuring_without_a_checkpoint_is_refused(refused):
    assert re.search("validate needs a checkpoint.*--ckpt_path", refused(f"validate {XNOR} --data.source photos"))


# --- the disk -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("full_at", "remedy"), [(1, "--run.fresh true"), (3, "--run.resume auto")])
def test_a_full_disk_leaves_a_run_that_can_resume(xnorlit, monkeypatch, full_at, remedy):
    save, saved = torch.save, []

    def filling(content, file):
        saved.append(file)
        if len(saved) == full_at:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file)

    monkeypatch.setattr(checkpoints.torch, "save", filling)
    status, _, err = xnorlit(FIT)
    assert status == 2, saved
    assert re.search(rf"no space left in \S*{RUN}/checkpoints for the checkpoint \w+\.ckpt; .*\. Free some", err)
    assert remedy in err
    assert not list(Path().rglob("*.partial"))
    assert not (RUN / "summary.json").exists()
    status, out, err = xnorlit(f"{FIT} {remedy}")
    assert status == 0, err
    assert "[done]" in out
    assert (RUN / "summary.json").exists()


def test_torchs_own_error_over_a_full_disk_is_understood(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints.Path, "open", lambda *_: Full())
    with pytest.raises(UserError, match="no space left"):
        checkpoints.Checkpoints().save_checkpoint({"weight": torch.zeros(10_000)}, tmp_path / "last.ckpt")
    assert not list(tmp_path.glob("*.ckpt"))
    assert not list(tmp_path.rglob("*.partial"))


class Full(io.BytesIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_read_only_folder_is_named(refused, monkeypatch):
    def deny(folder, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(place, "_lock", deny)
    assert refused(FIT).startswith(f"{RUN}: permission denied. Change the permissions")


# --- errors of other kinds ------------------------------------------------------------------------------------------
def raising(monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("xnorlit.compare", lambda *_, **__: fails())


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("mend this"), 2, "error: mend this\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, r"runs/x: no space left on device\. Free"),
        (OSError(errno.EIO, "I/O error"), 2, r"error: i/o error\. Run the command again with --debug"),
        (ZeroDivisionError("by\nzero"), 1, r"unexpected ZeroDivisionError: by zero\. .*report it.*--debug"),
        (KeyboardInterrupt(), 130, "^$"),
    ],
)  # fmt: skip
def test_every_error_is_one_message_and_with_debug_itself(xnorlit, monkeypatch, error, status, message):
    raising(monkeypatch, error)
    code, out, err = xnorlit("compare")
    assert (code, out) == (status, "")
    assert re.search(message, err)
    assert err.count("\n") <= 1
    with pytest.raises(type(error)):
        cli.main(["compare", "--debug"])


def test_a_reader_that_stops_reading_is_no_error():
    write_run(Path("runs"), "xnor")
    write_run(Path("runs"), "float", right=800)
    line = f"{sys.executable} -m xnorlit compare | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_color_is_plain_text_on_a_terminal_too(monkeypatch, capsys):
    from xnorlit.edge.console import terminal

    for setting, styled in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", setting)
        terminal(force_terminal=True).print("[bold red]word[/]")
        assert ("\x1b" in capsys.readouterr().out) is styled


def test_a_notebook_does_not_count_as_a_terminal(monkeypatch, capsys):
    from xnorlit.edge.console import say, terminal

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert not terminal().is_terminal
    say("tag", "text")
    assert capsys.readouterr().out == "[tag]     text\n"


# --- `~` behind a `=` and closed streams ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("~/a", "HOME/a"),
        ("~", "HOME"),
        ("--run.root=~/runs", "--run.root=HOME/runs"),
        ("-c=~/my recipe.yaml", "-c=HOME/my recipe.yaml"),
        ("--root=~", "--root=HOME"),
        ("--run.root=~nobody-here/x", "--run.root=~nobody-here/x"),
        ("a~/b", "a~/b"),
        ("./~/b", "./~/b"),
        ("--model.layers={fc*: ~}", "--model.layers={fc*: ~}"),
        ("cat~", "cat~"),
    ],
)
def test_the_home_folder_is_expanded_wherever_a_path_starts(monkeypatch, tmp_path, word, read):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    monkeypatch.setattr(cli.Command, "run", lambda _, verb, words: seen.extend(words) or 0)
    assert cli.main(["compare", word]) == 0
    assert seen == [read.replace("HOME", str(tmp_path))]


@pytest.mark.parametrize("command", ["--help", "--version", "compare --root kept"])
def test_a_full_output_device_is_reported_without_a_traceback(tmp_path, command):
    for arm in ("xnor", "float"):
        write_run(tmp_path / "kept", arm)
    line = f"exec {sys.executable} -m xnorlit {command} > /dev/full"
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left on device")
    assert "Traceback" not in done.stderr


def test_a_removed_current_folder_is_not_a_bug(tmp_path):
    (tmp_path / "gone").mkdir()
    line = f"rmdir ../gone; exec {sys.executable} -m xnorlit --help"
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path / "gone", env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("redirection", "command", "status", "message"),
    [
        (">&-", "compare", 2, "standard output is closed, but compare prints"),
        (">&-", "classify a b", 2, "standard output is closed, but classify prints"),
        (">&-", "sync nowhere", 2, "nowhere"),
        ("<&- >&-", "sync nowhere", 2, "nowhere"),
        ("2>&-", "compare --root nowhere", 2, ""),
        ("<&- >&- 2>&-", "compare", 2, ""),
    ],
)
def test_closed_streams_are_not_a_bug(tmp_path, redirection, command, status, message):
    line = f"exec {sys.executable} -m xnorlit {command} {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == status
    assert message in done.stderr
    assert "unexpected" not in done.stderr
    assert "Exception ignored" not in done.stderr
