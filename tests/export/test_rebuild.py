"""A packed network says which run, checkpoint and commit it comes from."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from xnorlit.data import CentreCrop, PadCrop
from xnorlit.errors import UserError
from xnorlit.export import rebuild as room
from xnorlit.export.rebuild import Rebuilt, packed_of, rebuild
from xnorlit.packed.origin import Source
from xnorlit.runs.place import Place


def run_of(commit="abc", dirty=True):
    place = Place(Path("/far/away/runs"), "e", "pair-0", "xnor", 3)
    environment = SimpleNamespace(commit=commit, dirty=dirty)
    return SimpleNamespace(path=place.path, place=place, environment=environment, config={"model": 1})


def data(crop):
    spread = lambda split, count: (split, count)  # noqa: E731
    return SimpleNamespace(val_crop=crop, image_size=32, classes=("n01440764", "b"), spread_pictures=spread)


@pytest.mark.parametrize("ends", ["float", "int8"])
@pytest.mark.parametrize("commit", ["abc", None])
def test_it_is_packed_with_its_origin_and_its_crop(ends, commit, monkeypatch):
    told = []
    monkeypatch.setattr(room, "pack", lambda *given, **how: told.append((given, how)))
    monkeypatch.setattr(room, "version", lambda _: "1.2")
    packed_of(run_of(commit), Rebuilt("net", data(CentreCrop(0.875)), Path("x/last.ckpt"), 7), ends)
    ((given, how),) = told
    origin = {"run": "runs/e/pair-0/xnor/seed-3", "checkpoint": "last.ckpt", "epoch": 7, "commit": commit or ""}
    assert given == ("net",)
    assert how == {
        "image_size": 32,
        "classes": ("tench", "b"),
        "ends": ends,
        "calibration": ("train", 256) if ends == "int8" else None,
        "crop": 0.875,
        "squash": False,
        "source": Source(weights="trained", changed=True, xnorlit="1.2", **origin),
    }


def test_a_crop_that_is_not_central_is_refused():
    with pytest.raises(
        UserError, match=r"seed-3 validates with PadCrop.*central crop\. Train with data\.val_crop: Cent"
    ):
        packed_of(run_of(), Rebuilt("net", data(PadCrop()), Path("last.ckpt"), 7), "float")


class Module:
    """A classifier that notes what is done with it."""

    def __init__(self, fits=True):
        self.fits, self.loaded, self.mode = fits, None, "training"
        self.net = SimpleNamespace(eval=lambda: "net in evaluation")

    def build_for(self, data):
        assert data.ready

    def on_load_checkpoint(self, content):
        if not self.fits:
            raise UserError("3 tensors differ")

    def load_state_dict(self, state):
        self.loaded = state


@pytest.mark.parametrize(("content", "epochs"), [({"epoch": 4}, 5), ({}, 0)])
def test_the_network_has_the_weights_of_the_checkpoint(content, epochs, monkeypatch):
    module, images = Module(), SimpleNamespace(ready=False)
    images.setup = lambda: vars(images).update(ready=True)
    asked = []
    monkeypatch.setattr(room, "load", lambda file: {"state_dict": "weights", **content})
    monkeypatch.setattr(room, "classifier", lambda *given: asked.append(given) or module)
    monkeypatch.setattr(room, "images", lambda *given: asked.append(given) or images)
    found = rebuild(run_of(), Path("last.ckpt"))
    assert found == Rebuilt("net in evaluation", images, Path("last.ckpt"), epochs)
    assert module.loaded == "weights"
    assert asked == [({"model": 1}, run_of().path / "config.yaml")] * 2


def test_what_does_not_fit_its_run_is_said(monkeypatch):
    def gone():
        raise UserError("there is no folder photos.")

    module, images = Module(fits=False), SimpleNamespace(ready=True, setup=gone)
    monkeypatch.setattr(room, "load", lambda file: {"state_dict": "weights"})
    monkeypatch.setattr(room, "classifier", lambda *_: module)
    monkeypatch.setattr(room, "images", lambda *_: images)
    with pytest.raises(
        UserError, match=r"the images of .*seed-3 are needed to measure its network: there is no folder"
    ):
        rebuild(run_of(), Path("last.ckpt"))
    images.setup = lambda: None
    with pytest.raises(UserError, match=r"last\.ckpt does not belong to .*seed-3: 3 tensors differ"):
        rebuild(run_of(), Path("last.ckpt"))
