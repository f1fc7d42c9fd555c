"""The promises of SECURITY.md: --no-code runs no code, no key is stored, archives stay in their folder."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from xnorlit.commands.main import main
from xnorlit.data import downloads
from xnorlit.errors import UserError

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xnorlit"
BASE = ["-c", str(ROOT / "experiments/cifar10/base.yaml"), "-c", str(ROOT / "experiments/cifar10/xnor.yaml")]
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module in the current folder that writes a file when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("XNORLIT_NO_CODE", raising=False)
    Path("evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\nclass Thing: pass\n")
    yield
    sys.modules.pop("evil", None)
    os.environ.pop("XNORLIT_NO_CODE", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: {binarizer: {class_path: evil.Thing}}", []),
        ("model: {binarizer: evil.Thing}", []),
        ("trainer: {callbacks: [{class_path: evil.Thing}]}", []),
        ("trainer: {callbacks: evil.Thing}", []),
        ("data: {train_crop: {class_path: evil.Thing, init_args: {}}}", []),
        ("model: {losses: [{class_path: xnorlit.training.losses.cross_entropy.CrossEntropy}, evil.Thing]}", []),
        (None, ["--model.binarizer", "evil.Thing"]),
        (None, ["--model.binarizer=evil.Thing"]),
        (None, ["--trainer.callbacks+=evil.Thing"]),
        (None, ["--trainer.callbacks", "[{class_path: evil.Thing}]"]),
        (None, ["--model.optimizer", '{"class_path": "evil.Thing"}']),
        (None, ["--model.network", "evil.Thing"]),
        (None, ["--model.network", "\u00e9vil.Thing"]),  # Python takes other alphabets for names.
        (None, ["--model.network", "lightning.Thing"]),  # not installed, so a file here would be imported
    ],
)
def test_no_code_refuses_a_class_path_before_it_is_imported(evil, capsys, text, words):
    for name in ("\u00e9vil.py", "lightning.py"):
        Path(name).write_text(Path("evil.py").read_text())
    if text:
        Path("sent.yaml").write_text(text)
        words = ["-c", "sent.yaml"]
    status = main(["fit", *BASE, *words, "--no-code"])
    assert status == 2
    assert re.search(r"\.Thing, not a class of xnorlit, torch or Lightning", capsys.readouterr().err)
    assert not Path("ran").exists()


def test_no_code_holds_for_the_binarizers_of_steps(evil, capsys):
    words = ["steps", "--network", "alexnet-small", "--binarizers", "XNOR", "evil.Thing", "--no-code"]
    assert main(words) == 2
    assert "binarizers is evil.Thing, not a class of xnorlit, torch or Lightning" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_no_code_takes_a_file_behind_an_option_of_the_network_for_a_file(evil, capsys):
    words = ["--model.binarizer", "XNOR", "-c", "base.yaml", "--data.source", "nowhere"]
    assert main(["fit", *words, "--no-code"]) == 2
    assert "base.yaml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["--model.network", "--model.optimizer", "--trainer.callbacks+", "--model.binarizer"])
@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("torch.hub.load", {"repo_or_dir": ".", "model": "made", "source": "local"}),
        ("torch.os.system", {"command": "touch ran"}),
        ("xnorlit.runs.trust.os.system", {"command": "touch ran"}),
        ("xnorlit.sweep.process.subprocess.Popen", {"args": ["touch", "ran"]}),
        ("pytorch_lightning.cli.os.system", {"command": "touch ran"}),
    ],
)
def test_no_code_refuses_what_a_trusted_package_holds_and_is_no_class_of_it(evil, capsys, key, path, arguments):
    Path("hubconf.py").write_text(Path("evil.py").read_text() + "made = Thing\n")
    given = json.dumps({"class_path": path, "init_args": arguments})
    assert main(["fit", *BASE, key, given, "--data.source", "nowhere", "--no-code"]) == 2
    assert f"{path}, not a class of xnorlit, torch or Lightning" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_no_code_takes_patterns_of_layers_for_what_they_are(evil, capsys):
    Path("sent.yaml").write_text("model: {decayed_layers: [layer1.conv1]}")
    assert main(["fit", *BASE, "-c", "sent.yaml", "--data.source", "nowhere", "--no-code"]) == 2
    assert "no layer of alexnet-small matches 'layer1.conv1'" in capsys.readouterr().err


def test_without_no_code_the_module_is_imported(evil, capsys):
    assert main(["fit", *BASE, "--model.binarizer", "evil.Thing"]) == 2  # it is no binarizer
    assert Path("ran").exists()


@pytest.mark.parametrize("folder", ["cifar10", "imagenet"])
def test_no_code_accepts_the_recipes(evil, capsys, folder):
    files = [ROOT / "experiments" / folder / name for name in ("base.yaml", "xnor.yaml")]
    words = [word for file in files for word in ("-c", str(file))]
    with pytest.raises(SystemExit) as ended:  # LightningCLI's, after it has printed
        main(["fit", *words, "--data.source", "photos.beton", "--no-code", "--print_config"])
    assert ended.value.code == 0


def test_no_checkpoint_is_read_as_code():
    text = {file: file.read_text() for file in PACKAGE.rglob("*.py")}
    loads = [call for source in text.values() for call in re.findall(r"torch\.load\([^)]*\)", source)]
    assert loads
    assert all("weights_only=" in call for call in loads)
    assert not any(
        re.search(r"pickle\.loads?\(|yaml\.(load\((?!text, Loader=_Distinct)|unsafe)", s) for s in text.values()
    )


def test_an_archive_that_would_leave_its_folder_writes_nothing(tmp_path):
    from torchvision.datasets.utils import extract_archive

    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        member = tarfile.TarInfo("../outside")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match="outside"), downloads.safely("cifar10", tmp_path / "in"):
        extract_archive(str(tmp_path / "set.tar"), str(tmp_path / "in"))
    assert not (tmp_path / "outside").exists()


@pytest.mark.slow
def test_no_key_is_in_a_run_directory_or_in_what_is_printed(tmp_path):
    line = [
        *(sys.executable, "-m", "xnorlit", "fit", "-c", "experiments/synthetic/base.yaml"),
        *("-c", "experiments/synthetic/xnor.yaml", f"--run.root={tmp_path}", "--trainer.max_epochs=1"),
        *("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=2", "--run.wandb=offline"),
    ]
    environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    for text in (done.stdout, done.stderr, *(file.read_bytes() for file in files)):
        assert KEY.encode() not in text
        assert KEY[:20].encode() not in text


def test_the_checkpoint_of_this_test_would_run_code_without_weights_only(tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Code()}, tmp_path / "x.ckpt")
    torch.load(tmp_path / "x.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()
