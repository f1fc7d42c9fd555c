"""Make the fixtures of this folder with the package of an earlier version. Only tests read them.

    git worktree add --detach /tmp/old 294a848          # and its compiled kernels into /tmp/old/xnorlit/packed/
    PYTHONPATH=/tmp/old python tests/compat/make.py     # about a minute

It writes `home.tar.xz`, `class_paths.txt` and `state.json.xz`. Everything was made at 294a848. Files of a later version
belong in another archive, made by that version.
"""

import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

import xnorlit
from xnorlit import models
from xnorlit.binarize import Binarizer, binarizers
from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR

HERE = Path(__file__).parent
OLD = Path(xnorlit.__file__).parents[1]
CLASSES, TRAIN, VAL, BATCH, EPOCHS = ("ant", "bee", "cat"), 24, 9, 4, 2

BASE = {
    "seed_everything": 0,
    "run": {"experiment": "kept", "root": "runs", "wandb": "off", "pair_differs": ["model.layers"]},
    "trainer": {"max_epochs": EPOCHS, "precision": "32-true", "log_every_n_steps": 1},
    "model": {
        "network": "compat-tiny",
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 3.0e-3}},
        "schedule": {"class_path": "xnorlit.training.schedule.WarmupCosine", "init_args": {"warmup": 0.5}},
    },
    "data": {
        "source": "pictures", "backend": "folder", "image_size": 16, "batch_size": BATCH, "workers": 0,
        "train_crop": {"class_path": "PadCrop", "init_args": {"padding": 2}}, "val_crop": {"class_path": "CentreCrop"},
    },
}  # fmt: skip
XNOR_ARM = {"model": {"binarizer": {"class_path": "XNOR", "init_args": {"gradient": "ste", "center": False}}}}
ARMS: dict[str, tuple[dict[str, Any], str | None]] = {  # settings, and where the run is stopped: STEP:SIGNAL
    "xnor": (XNOR_ARM, None),
    "float": ({"model": {"binarizer": {"class_path": "Float"}}}, None),
    # Killed one step after the first epoch's checkpoint.
    "killed": (XNOR_ARM, "7:SIGKILL"),
    # Stopped in the second epoch, with training aids whose state is in the checkpoint.
    "interrupted": (
        {
            "trainer": {
                "callbacks": [
                    {"class_path": "TwoStages", "init_args": {"share": 0.7}},
                    {"class_path": "Recalibration", "init_args": {"images": 8}},
                    {"class_path": "LayerCurves", "init_args": {"every": 2}},
                ]
            },
            "model": {
                "binarizer": {"class_path": "ReActNet"},
                "layers": {"fc3": {"class_path": "DoReFa", "init_args": {"weight_bits": 2, "input_bits": 3}}},
                "learned_lr": 1.0e-3,
                "latent_eps": 1.0e-20,
                "losses": [
                    "CrossEntropy",
                    {"class_path": "Distillation", "init_args": {"teacher": "float"}},
                    {"class_path": "Bipolar", "init_args": {"weight": 0.01}},
                ],
            },
        },
        "9:SIGINT",
    ),
    # Stopped in the first epoch, with flipped weights and an offline W&B run that keeps its id.
    "flipping": (
        {
            "run": {"wandb": "offline"},
            "model": {
                "binarizer": {"class_path": "LatentFree"},
                "optimizer": {"class_path": "xnorlit.training.bop.Bop", "init_args": {"lr": 3.0e-3}},
            },
        },
        "3:SIGINT",
    ),
}


def main() -> None:
    """Make all fixtures in this folder."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _pictures(home / "pictures")
        for arm, (settings, stop) in ARMS.items():
            _train(home, arm, settings, stop)
        pair = home / "runs" / "kept" / "pair-0"
        for ends in ("float", "int8"):
            _xnorlit(home, "pack", "runs/kept/pair-0/xnor/seed-0", "--ends", ends)
        for file in ("packed.safetensors", "packed-int8.safetensors"):
            said = _xnorlit(home, "classify", f"runs/kept/pair-0/xnor/seed-0/{file}", "pictures/val", "--json")
            (home / f"{file}.json").write_text(said)
        (home / "compare.json").write_text(_xnorlit(home, "compare", "--json"))
        (home / "configs").mkdir()
        paths = _recipes(home / "configs")
        for left in (*pair.glob("*/*/wandb"), *pair.glob("*/*/.lock")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        _archive(home)
    (HERE / "class_paths.txt").write_text("".join(f"{path}\n" for path in sorted(paths | _public())))
    (HERE / "state.json.xz").write_bytes(lzma.compress(json.dumps(_state()).encode()))


def _pictures(root: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            label = index % len(CLASSES)
            folder = root / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 120, (18, 20, 3)) + 60 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")


def _train(home: Path, arm: str, settings: dict[str, Any], stop: str | None) -> None:
    config = home / "base.yaml"
    config.write_text(yaml.safe_dump(BASE))
    overlay = home / "arm.yaml"
    overlay.write_text(yaml.safe_dump(_merged({"run": {"arm": arm}}, settings)))
    _xnorlit(home, "fit", "-c", config.name, "-c", overlay.name, stop=stop)
    config.unlink()
    overlay.unlink()


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(one[key], other[key]) for key in one.keys() & other.keys()}
    return {**one, **other, **both}


def _xnorlit(home: Path, *words: str, stop: str | None = None) -> str:
    environment = {**os.environ, "COMPAT_STOP": stop or "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "tiny.py"), *words],
        cwd=home, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != {None: 0, "SIGKILL": -9, "SIGINT": 130}[stop and stop.split(":")[1]]:
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _recipes(folder: Path) -> set[str]:
    """The class paths that runs of all recipes record, and the fewest configurations that contain all of them."""
    lines = {}
    for base in sorted(OLD.glob("experiments/**/base.yaml")):
        for overlay in sorted(set(base.parent.rglob("*.yaml")) - {base}):
            name = overlay.relative_to(OLD / "experiments").with_suffix("").as_posix().replace("/", "-")
            lines[name] = ["-c", str(base), "-c", str(overlay), "--model.init_from=null"]  # looks for a run
    command = [sys.executable, "-m", "xnorlit.training.resolve"]
    said = subprocess.run(
        command, input=json.dumps(list(lines.values())), capture_output=True, text=True, check=True, cwd=OLD
    ).stdout
    configs = {}
    for name, answer in zip(lines, json.loads(said), strict=True):
        if "config" not in answer:
            raise RuntimeError(f"{name}: {answer}")
        configs[name] = answer["config"]
    named = {name: set(_class_paths(config)) for name, config in configs.items()}
    missing = set().union(*named.values())
    while missing:
        best = max(named, key=lambda name: len(named[name] & missing))
        missing -= named[best]
        (folder / f"{best}.yaml").write_text(yaml.safe_dump(configs[best]))
    return set().union(*named.values())


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for part in value.values():
            yield from _class_paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _class_paths(part)


def _public() -> set[str]:
    """The class paths that a user's own configuration may contain, whether a recipe has them or not."""
    import xnorlit.training.module  # noqa: F401 - it imports every loss, schedule and crop
    from xnorlit.data.augment import Crop
    from xnorlit.training.aids import AIDS
    from xnorlit.training.bop import Bop
    from xnorlit.training.losses import Loss
    from xnorlit.training.schedule import Schedule

    classes = {*binarizers().values(), *AIDS, Bop}
    for base in (Crop, Loss, Schedule):
        classes |= set(base.__subclasses__())
    return {f"{each.__module__}.{each.__qualname__}" for each in classes if not each.__name__.startswith("_")}


def _state() -> dict[str, list[tuple[str, list[int]]]]:
    """Names and shapes of a checkpoint's tensors, in order, for every network and every binarizer."""
    made: dict[str, tuple[models.Network, Binarizer]] = {
        **{name: (network, XNOR()) for name, network in models.networks().items()},
        **{f"float {name}": (network, Float()) for name, network in models.networks().items()},
        **{
            f"{name} {network}": (models.network_named(network), binarizer())
            for network in ("alexnet-small", "alexnet-dorefa")
            for name, binarizer in binarizers().items()
        },
    }
    found = {}
    for name, (network, binarizer) in made.items():
        with torch.device("meta"):
            try:
                net = models.build(network, binarizer, classes=10, image_size=network.image_size)
            except xnorlit.errors.UserError:  # a sign behind a ReLU
                continue
        found[name] = [(key, list(value.shape)) for key, value in net.state_dict().items()]
    return found


def _archive(home: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in sorted(home.rglob("*")):
            if path.is_file():
                entry = archive.gettarinfo(path, path.relative_to(home).as_posix())
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    (HERE / "home.tar.xz").write_bytes(lzma.compress(made.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
