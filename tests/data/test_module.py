import builtins
import importlib
import os
import sys

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from tests.data.interpreted import interpret
from tests.data.pictures import HOSTILE
from tests.processes import forget, status_of
from xnorlit.data import ImageData, PadCrop, ResizedCrop, backends, sources
from xnorlit.data.prepare import prepare
from xnorlit.errors import UserError


@pytest.fixture
def small_synthetic(monkeypatch):
    monkeypatch.setattr(sources, "SYNTHETIC_COUNTS", {"train": 60, "val": 20})


@pytest.fixture
def without_ffcv(monkeypatch):
    original = builtins.__import__

    def failing(name, *rest, **more):
        if name.split(".")[0] == "ffcv":
            raise ImportError("No module named 'ffcv'")
        return original(name, *rest, **more)

    for name in [name for name in sys.modules if name.split(".")[0] == "ffcv"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "xnorlit.data.ffcv_reader", raising=False)
    monkeypatch.delattr("xnorlit.data.ffcv_reader", raising=False)
    monkeypatch.setattr(builtins, "__import__", failing)


def data(source, tmp_path, **options):
    defaults = {"backend": "folder", "image_size": 16, "batch_size": 8}
    return ImageData(str(source), root=tmp_path / "root", **{**defaults, **options})


def test_batches_are_uint8_channels_last_with_labels_and_indices(tree, tmp_path):
    module = data(tree, tmp_path)
    module.setup()
    batch = next(iter(module.train_dataloader()))
    assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (8, 3, 16, 16))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.labels.dtype, batch.indices.dtype) == (torch.int64, torch.int64)
    assert batch.labels.equal(batch.indices // 20)
    assert (module.classes, module.num_classes) == (("a", "b", "c"), 3)


@pytest.mark.ffcv
def test_both_backends_give_the_same_batches(tree, tmp_path):
    pytest.importorskip("xnorlit.data.ffcv_reader")
    batches, hashes = [], []
    for backend in ("folder", "ffcv"):
        module = data(tree, tmp_path, backend=backend, seed=3, global_batch=20)  # in parts of 7, 7 and 6
        module.setup()
        assert module.used_backend == backend
        loader = module.train_dataloader()
        batches.append([batch for _ in range(2) for batch in loader] + list(module.val_dataloader()))
        hashes.append((module.listing_hash("train"), module.listing_hash("val")))
    assert hashes[0] == hashes[1]
    for left, right in zip(*batches, strict=True):
        assert all(one.equal(other) for one, other in zip(left[:3], right[:3], strict=True))
        assert left.weight == right.weight


@pytest.mark.ffcv
def test_a_tree_is_prepared_once_and_reused(tree, tmp_path, capsys, monkeypatch):
    interpret(monkeypatch)
    Image.new("RGB", (40, 20)).save(tree / "train/a/000.png")
    for expected in ("preparing tree once for FFCV, in", "FFCV reads what was prepared in"):
        module = data(tree, tmp_path, backend="auto")
        module.setup()
        assert module.used_backend == "ffcv"
        assert expected in capsys.readouterr().out
    Image.new("RGB", (44, 22)).save(tree / "train/a/003.png")
    data(tree, tmp_path, backend="auto").setup()
    assert "preparing tree once" in capsys.readouterr().out  # a replaced file is noticed
    assert len(list((tmp_path / "root/prepared").iterdir())) == 2


@pytest.mark.ffcv
def test_backend_ffcv_reads_the_synthetic_set(tmp_path, small_synthetic, monkeypatch):
    interpret(monkeypatch)
    folder, ffcv = (data("synthetic", tmp_path, backend=backend) for backend in ("folder", "ffcv"))
    for left, right in zip(folder.val_dataloader(), ffcv.val_dataloader(), strict=True):
        assert left.images.equal(right.images)


@pytest.mark.ffcv
def test_betons_are_read_from_a_folder(tree, tmp_path, monkeypatch):
    interpret(monkeypatch)
    prepare(tree, tmp_path / "out", jpeg=0)
    module, original = data(tmp_path / "out", tmp_path, backend="auto"), data(tree, tmp_path)
    assert module.listing_hash("val") == original.listing_hash("val")
    assert module.used_backend == "ffcv"
    for left, right in zip(module.val_dataloader(), original.val_dataloader(), strict=True):
        assert left.images.equal(right.images)


def test_without_ffcv_auto_reads_the_files_and_says_why(tree, tmp_path, without_ffcv, capsys, caplog):
    Image.new("RGB", (40, 20)).save(tree / "train/a/000.png")
    module = data(tree, tmp_path, backend="auto", workers=0)
    with caplog.at_level("INFO", "xnorlit.data"):
        module.setup()
    reason = "backend folder: FFCV is missing: No module named 'ffcv'; 0 worker processes"
    assert reason in capsys.readouterr().out
    assert reason in caplog.text
    assert len(list(module.val_dataloader())) == 2


def test_without_ffcv_a_small_tree_is_held_in_memory(tree, tmp_path, without_ffcv, capsys):
    data(tree, tmp_path, backend="auto").setup()
    assert "backend folder: 0 MB in memory; FFCV is missing: No module named 'ffcv'" in capsys.readouterr().out


def test_made_images_stay_in_memory(tmp_path, small_synthetic, capsys):
    data("synthetic", tmp_path, backend="auto").setup()
    assert "backend folder: 0 MB in memory\n" in capsys.readouterr().out


def test_without_ffcv_backend_ffcv_is_a_clear_error(tree, tmp_path, without_ffcv):
    with pytest.raises(UserError, match=r"FFCV cannot be imported \(No module named 'ffcv'\)\. Install it with"):
        data(tree, tmp_path, backend="ffcv").setup()


def test_a_beton_without_ffcv_is_a_clear_error(tree, tmp_path, without_ffcv):
    prepare(tree, tmp_path / "out")
    with pytest.raises(UserError, match=r"train\.beton is a \.beton, and FFCV cannot be imported.*pip install"):
        data(tmp_path / "out", tmp_path, backend="auto").setup()
    with pytest.raises(UserError, match="backend folder reads image files only"):
        data(tmp_path / "out", tmp_path, backend="folder").setup()


def test_the_announcement_lists_what_was_found(tmp_path, small_synthetic, capsys):
    data("synthetic", tmp_path).setup()
    printed = capsys.readouterr().out
    assert printed.startswith("[data]    synthetic: 60 train / 20 val, 16 x 16, 10 classes, generated in ")
    assert "(not photographs: --data cifar10 for real ones); backend folder: " in printed
    assert printed.count("\n") == 1
    assert "\x1b" not in printed


def test_other_ranks_print_nothing(tmp_path, small_synthetic, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    data("synthetic", tmp_path).setup()
    assert capsys.readouterr().out == ""


def test_test_stands_in_for_val_and_the_line_says_so(tree, tmp_path, capsys):
    (tree / "val").rename(tree / "test")
    module = data(tree, tmp_path)
    assert module.listing_hash("val") == module.listing_hash("test")
    assert "val is test/" in capsys.readouterr().out


def test_a_hold_out_is_stratified_disjoint_and_the_same_for_every_seed(tree, tmp_path):
    first, second = (data(tree, tmp_path, holdout=0.25, seed=seed) for seed in (0, 1))
    val, train = (
        torch.cat([batch.labels for batch in loader]) for loader in (first.val_dataloader(), first.train_dataloader())
    )
    assert val.bincount().tolist() == [5, 5, 5]
    assert train.bincount().tolist() == [15, 15, 15]
    shown = {image.numpy().tobytes() for batch in first.val_dataloader() for image in batch.images}
    plain = data(tree, tmp_path, holdout=0.25, train_crop=PadCrop(0), flip=False)
    assert not shown & {image.numpy().tobytes() for batch in plain.train_dataloader() for image in batch.images}
    assert first.listing_hash("val") == second.listing_hash("val") != data(tree, tmp_path).listing_hash("val")
    assert sorted(torch.cat([batch.indices for batch in first.val_dataloader()]).tolist()) == list(range(15))


def test_the_files_of_a_split_are_those_of_its_samples_and_there_are_none_for_a_part_of_it(
    tree, tmp_path, small_synthetic
):
    whole, held_out = data(tree, tmp_path), data(tree, tmp_path, holdout=0.25)
    for split, count in (("train", 60), ("val", 15), ("test", 15)):
        files = whole.files(split)
        assert all(files.path(index).is_file() for index in range(count))
        assert files.listing.sha256 == whole.listing_hash(split)
    assert held_out.files("train") is None
    assert held_out.files("val") is None
    assert data("synthetic", tmp_path).files("val") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size is 0\. Expected 1 or more"),
        ({"global_batch": 0}, r"global_batch is 0\. Expected 1 or more"),
        ({"image_size": 0}, r"image_size is 0\. Expected 1 or more"),
        ({"image_size": -5}, "image_size is -5"),
        ({"workers": -1}, r"workers is -1\. Expected 0 or more"),
        ({"holdout": 1.0}, r"holdout is 1\.0\. Expected the share"),
        ({"std": (1, 0, 1)}, r"std is \(1, 0, 1\)\. Expected three positive numbers"),
        ({"backend": "dali"}, "no backend named dali. Expected auto, ffcv or folder"),
    ],
)
def test_invalid_options_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        data("synthetic", tmp_path, **options)


def test_statistics_can_be_overridden(tmp_path, small_synthetic):
    module = data("synthetic", tmp_path, mean=(1, 2, 3))
    module.setup()
    assert (module.mean, module.std) == ((1, 2, 3), sources.synthetic.STD)


def test_cores_are_shared_among_the_processes_of_a_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("xnorlit.data.module.cores", lambda: 8)
    for processes, expected in ((1, 8), (3, 2), (16, 1)):
        module = data("synthetic", tmp_path)
        module.trainer = type("T", (), {"num_devices": processes})()
        assert module._threads() == expected
    assert data("synthetic", tmp_path, workers=5)._threads() == 5


def test_more_processes_than_samples_is_a_clear_error(tree, tmp_path, monkeypatch):
    module = data(tree, tmp_path)
    module.trainer = type("T", (), {"global_rank": 0, "world_size": 61, "num_devices": 61})()
    with pytest.raises(UserError, match="train split has 60 samples for 61 processes"):
        module.train_dataloader()


def imported_without(missing, *modules):
    """Whether our modules can be imported where others cannot."""

    def work():
        forget(missing)
        for name in modules:
            importlib.import_module(name)

    return status_of(work) == 0


def test_importing_the_module_does_not_import_ffcv():
    missing = {"ffcv", "numba"}
    assert imported_without(missing, "xnorlit.data.module", "xnorlit.data.prepare")
    assert not imported_without(missing, "xnorlit.data.ffcv_reader")


class Recorder(pl.LightningModule):
    """Records its samples. At step `stop_at` it saves, within or after the step, and stops."""

    def __init__(self, stop_at=None, within=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated, self.stop_at, self.within = [], [], stop_at, within

    def training_step(self, batch, batch_index):
        if self.within:
            self.stop_here(taken=1)
        self.seen.append((batch.indices.tolist(), batch.images.sum().item()))
        return self.weight * batch.images.float().mean()

    def on_train_batch_end(self, outputs, batch, batch_index):
        if not self.within:
            self.stop_here()

    def stop_here(self, taken=0):
        if len(self.seen) + taken == self.stop_at:
            self.trainer.save_checkpoint(self.trainer.default_root_dir + "/stopped.ckpt")
            raise KeyboardInterrupt

    def validation_step(self, batch, batch_index):
        self.validated.append(batch.indices.tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_load_checkpoint(self, checkpoint):
        self.trainer.datamodule.recount(checkpoint)


def trainer(tmp_path, **options):
    return pl.Trainer(
        default_root_dir=str(tmp_path), accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "within", "stop_at"),
    [
        *[("folder", within, stop_at) for within in (False, True) for stop_at in (1, 3, 8, 9, 11)],
        pytest.param("ffcv", False, 3, marks=pytest.mark.ffcv),
        pytest.param("ffcv", True, 8, marks=[pytest.mark.ffcv, pytest.mark.slow]),
    ],
)
def test_a_run_resumed_in_lightning_continues_with_the_same_pictures(
    tree, tmp_path, backend, within, stop_at, monkeypatch
):
    if backend == "ffcv":
        interpret(monkeypatch)
    whole = Recorder()
    trainer(tmp_path).fit(whole, data(tree, tmp_path, backend=backend))
    assert len(whole.seen) == 24
    assert len({str(indices) for indices, _ in whole.seen}) == 24  # no two epochs in one order

    first, second = Recorder(stop_at, within), Recorder()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path).fit(first, data(tree, tmp_path, backend=backend))
    trainer(tmp_path).fit(second, data(tree, tmp_path, backend=backend), ckpt_path=f"{tmp_path}/stopped.ckpt")
    assert first.seen + second.seen == whole.seen
    if stop_at % 8:  # At an epoch's last batch Lightning itself leaves its validation out.
        assert first.validated + second.validated == whole.validated


@pytest.mark.parametrize("stop_at", [2, 5, 7])  # steps; an epoch of 60 samples has 4
def test_a_run_resumed_in_lightning_with_another_batch_size_takes_the_same_steps(tree, tmp_path, stop_at):
    whole, first, second = Recorder(), Recorder(2 * stop_at), Recorder()
    trainer(tmp_path).fit(whole, data(tree, tmp_path, batch_size=16, global_batch=16))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path).fit(first, data(tree, tmp_path, batch_size=8, global_batch=16))
    resumed = trainer(tmp_path)
    resumed.fit(second, data(tree, tmp_path, batch_size=16, global_batch=16), ckpt_path=f"{tmp_path}/stopped.ckpt")
    pairs = [left[0] + right[0] for left, right in zip(first.seen[::2], first.seen[1::2], strict=True)]
    assert pairs + [indices for indices, _ in second.seen] == [indices for indices, _ in whole.seen]
    assert resumed.global_step == 12
    once = [list(range(15))]
    assert whole.validated == once * 4  # the first is Lightning's sanity check
    assert second.validated == once * (4 - len(first.validated) // 2)


def test_an_older_checkpoint_does_not_resume_with_an_unrecorded_global_batch(tree, tmp_path):
    module = data(tree, tmp_path, global_batch=16)
    module.load_state_dict({"epoch": 0, "position": 3})
    with pytest.raises(UserError, match=r"from an older version.*without data.global_batch"):
        module.train_dataloader()


def test_accumulation_that_contradicts_the_global_batch_is_refused(tree, tmp_path):
    with pytest.raises(UserError, match=r"accumulate_grad_batches is 3, but a data.global_batch of 16 .* requires 2"):
        trainer(tmp_path, accumulate_grad_batches=3).fit(Recorder(), data(tree, tmp_path, global_batch=16))


def test_lightning_validates_every_sample_each_epoch(tree, tmp_path):
    model = Recorder()
    trainer(tmp_path, num_sanity_val_steps=1).fit(model, data(tree, tmp_path))
    once = [list(range(8)), list(range(8, 15))]
    assert model.validated == [once[0], *once * 3]


def test_small_pictures_are_cropped_as_cifars_and_large_as_imagenets(tmp_path):
    assert data("synthetic", tmp_path, image_size=64)._views["train"].crop == PadCrop(4)
    assert data("synthetic", tmp_path, image_size=65)._views["train"].crop == ResizedCrop()
    assert backends.storage_for(224).shorter_side == 256


def test_a_training_sample_is_the_start_of_the_first_epoch_and_changes_nothing(tree, tmp_path):
    module, untouched = data(tree, tmp_path, seed=3), data(tree, tmp_path, seed=3)
    loader = iter(module.train_dataloader())
    begun = next(loader)
    sample = list(module.training_sample(20))
    assert [len(batch.images) for batch in sample] == [8, 8, 8]
    assert sample[0].images.equal(begun.images)
    assert module.train_dataloader().state_dict() == untouched.train_dataloader().state_dict()
    for left, right in zip([begun, *loader], untouched.train_dataloader(), strict=True):
        assert left.images.equal(right.images)
    assert sum(len(batch.images) for batch in module.training_sample(10**6)) == 60


# --- what files hold is known before training -----------------------------------------------------------------------
@pytest.fixture
def varied(tree):
    """The tree with pictures of several sizes, read file by file."""
    Image.new("RGB", (20, 30)).save(tree / "train/a/000.png")
    return tree


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def replaced(path):
    path.write_bytes(b"no picture")


def gone(path):
    path.unlink()
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("damage", [cut, replaced, gone])
@pytest.mark.parametrize(("where", "number"), [("a", 0), ("b", 2), ("c", -1)])
def test_a_picture_that_cannot_be_read_is_named_before_training(varied, tmp_path, split, damage, where, number):
    damage(sorted((varied / split / where).iterdir())[number])
    with pytest.raises(UserError, match=rf"{split}/{where}/0\d\d\.png cannot be read as an image"):
        data(varied, tmp_path).setup()


def test_several_are_counted_and_the_first_named(varied, tmp_path):
    for path in (varied / "train/c").iterdir():
        replaced(path)
    with pytest.raises(UserError, match=r"20 of 75 pictures cannot be read:\n.*train/c/002\.png"):
        data(varied, tmp_path).setup()


def test_pictures_are_checked_once_and_again_when_one_was_replaced(varied, tmp_path, capsys):
    said = "checking once that 75 pictures can be read"
    data(varied, tmp_path).setup()
    assert said in capsys.readouterr().out
    data(varied, tmp_path).setup()
    assert said not in capsys.readouterr().out
    replaced(varied / "val/a/000.png")
    with pytest.raises(UserError, match=r"val/a/000\.png cannot be read"):
        data(varied, tmp_path).setup()


@pytest.mark.parametrize("several_sizes", [False, True])
def test_a_picture_of_any_name_is_trained_on(tree, tmp_path, several_sizes):
    if several_sizes:
        Image.new("RGB", (20, 30)).save(tree / "train/a/000.png")
    for split in ("train", "val"):
        for name, path in zip(HOSTILE, sorted((tree / split / "b").iterdir()), strict=False):
            path.rename(path.with_name(os.fsdecode(name)))
    module = data(tree, tmp_path)
    module.setup()
    assert sum(len(batch.labels) for batch in module.train_dataloader()) >= 56
    assert sum(len(batch.labels) for batch in module.val_dataloader()) == 15
    assert len(module.listing_hash("val")) == 64


@pytest.mark.parametrize(
    ("world", "sizes", "images", "shown"),
    [
        (2, {"batch_size": 4}, 16, [[4, 4], [4, 4]]),
        (3, {"batch_size": 4, "global_batch": 10}, 20, [[4, 4], [3, 3], [3, 3]]),
        (3, {"batch_size": 4, "global_batch": 10}, 21, [[4, 4, 4], [3, 3, 3], [3, 3, 3]]),
        (2, {"batch_size": 7, "global_batch": 28}, 10**6, [[7, 7, 7, 7, 2]] * 2),
    ],
)
def test_processes_take_a_training_sample_together(world, sizes, images, shown, tree, tmp_path):
    """A process with one batch fewer would leave the others waiting in a synchronised norm."""
    found = []
    for rank in range(world):
        module = data(tree, tmp_path, **sizes)
        module.trainer = type(
            "T", (), {"global_rank": rank, "world_size": world, "num_devices": world, "accumulate_grad_batches": 1}
        )()
        found.append([len(batch.images) for batch in module.training_sample(images)])
    assert found == shown
