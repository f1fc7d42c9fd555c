"""Run directories as training writes them, with accuracies chosen by the test."""

import csv
import json
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

CLASSES = tuple(f"class-{i}" for i in range(10))
XNOR = {"class_path": "xnorlit.binarize.XNOR", "init_args": {"gradient": "corrected", "input_scale": False}}
BWN = {"class_path": "xnorlit.binarize.BWN", "init_args": {"gradient": "ste"}}
FLOAT = {"class_path": "xnorlit.binarize.Float"}
BINARIZERS = {"xnor": XNOR, "bwn": BWN, "float": FLOAT}

# alexnet-small: 1,472,650 parameters, 1,458,688 of them binary. Packed: a 32-bit threshold and a bit for its direction
# per channel of conv1 to conv4 and fc6, and per channel and position of conv5's 96 x 16; scale and shift for the
# outputs of fc7 and fc8.
PARAMETERS, BINARY = 1_472_650, 1_458_688
FLOAT_BITS = 32 * PARAMETERS
BINARY_PACKED_BITS = BINARY + 33 * (96 + 128 + 128 + 96 * 16 + 512) + 32 * 2 * 512
PACKED_BITS = BINARY_PACKED_BITS + 32 * 27 * 48 + 33 * 48 + 32 * (512 + 2) * 10


def write_run(
    root: Path,
    arm: str,
    seed: int = 0,
    *,
    right: int | np.ndarray = 700,
    images: int = 1000,
    experiment: str = "synthetic",
    pair: str = "pair-0",
    started: str = "2026-01-01T00:00:00+00:00",
    config: dict | None = None,
    summary: dict | None = None,
    environment: dict | None = None,
    classes: tuple[str, ...] = CLASSES,
    metadata: dict[str, str] | None = None,
    finished: bool = True,
) -> Path:
    """A run whose first `right` images (or those of a mask) are classified right, the others second-likeliest.

    `config` sets dotted keys of the resolved configuration; `summary`, `environment` and `metadata` replace fields.
    """
    path = root / experiment / pair / arm / f"seed-{seed}"
    (path / "checkpoints").mkdir(parents=True)
    mask = np.arange(images) < right if isinstance(right, int) else right
    top1 = float(mask.mean()) if mask.size else 0.0
    binary = arm != "float"
    _write_config(path, experiment, pair, arm, seed, config or {})
    _write_metrics(path, top1)
    _write_predictions(path, mask, classes, metadata or {})
    _write_json(
        path / "environment.json",
        {
            "python": "3.11.2", "platform": "Linux", "cpu": "A CPU", "cores": 2, "threads": 2, "gpu": None,
            "packages": {"torch": "2.4.0", "pytorch-lightning": "2.4.0"}, "git": {"commit": "a" * 40, "dirty": False},
            "command": "xnorlit fit", "started": started, "backend": "folder",
        } | (environment or {}),
    )  # fmt: skip
    if finished:
        _write_json(
            path / "summary.json",
            {
                "status": "finished", "epochs": 2, "top1": top1, "top5": 1.0, "best_top1": top1, "best_epoch": 1,
                "train_seconds": 252.0 if binary else 240.0, "step_seconds": 0.021 if binary else 0.02,
                "parameters": PARAMETERS, "binary_parameters": BINARY if binary else 0,
                "bits": {
                    "float": FLOAT_BITS,
                    "packed": PACKED_BITS if binary else FLOAT_BITS,
                    "binary": BINARY_PACKED_BITS if binary else 0,
                },
                "classes": len(classes), "synthetic": experiment == "synthetic", "wandb": None,
            } | (summary or {}),
        )  # fmt: skip
    return path


def _write_config(path: Path, experiment: str, pair: str, arm: str, seed: int, changes: dict) -> None:
    config = {
        "seed_everything": seed,
        "run": {"root": "runs", "experiment": experiment, "pair": pair, "arm": arm},
        "trainer": {
            "max_epochs": 2,
            "precision": "bf16-mixed",
            "logger": [{"class_path": "CSVLogger", "init_args": {"name": arm}}],
            "default_root_dir": str(path),
        },
        "model": {
            "network": "alexnet-small",
            "binarizer": BINARIZERS.get(arm, XNOR),
            "layers": None,
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003}},
        },
        "data": {"source": "synthetic", "backend": "auto", "batch_size": 64, "seed": seed},
        "ckpt_path": None,
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        section = config
        for name in parents:
            section = section.setdefault(name, {})
        section[last] = value
    (path / "config.yaml").write_text("# pytorch_lightning==2.4.0\n" + yaml.safe_dump(config))


def _write_metrics(path: Path, top1: float) -> None:
    """Two epochs as CSVLogger writes them: the monitor's row without epoch, training and validation in own rows."""
    columns = ["epoch", "lr-Adam", "step", "train/loss", "train/loss_epoch", "val/loss", "val/top1"]
    rows = [
        {"lr-Adam": 0.003, "step": 49},
        {"epoch": 0, "step": 49, "train/loss": 2.1},
        {"epoch": 0, "step": 99, "val/loss": 1.9, "val/top1": top1 / 2},
        {"epoch": 0, "step": 99, "train/loss_epoch": 2.0},
        {"epoch": 1, "step": 149, "train/loss": 1.5},
        {"epoch": 1, "step": 199, "val/loss": 1.4, "val/top1": top1},
        {"epoch": 1, "step": 199, "train/loss_epoch": 1.6},
    ]
    with (path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_predictions(path: Path, right: np.ndarray, classes: tuple[str, ...], metadata: dict[str, str]) -> None:
    n, k = len(right), min(5, len(classes))
    label = np.arange(n) % len(classes)
    ranked = (label[:, None] + np.arange(k)) % len(classes)
    ranked[~right, :2] = ranked[~right, 1::-1]
    save_file(
        {
            "index": np.arange(n),
            "label": label,
            "top5": np.ascontiguousarray(ranked),
            "top5_logit": np.tile(np.arange(k, 0, -1, dtype=np.float32), (n, 1)),
        },
        path / "predictions.safetensors",
        {
            "classes": json.dumps(classes), "listing_sha256": "0" * 64, "split": "val", "source": "synthetic",
            "epoch": "1",
        } | metadata,
    )  # fmt: skip


def _write_json(file: Path, fields: dict) -> None:
    file.write_text(json.dumps(fields))
