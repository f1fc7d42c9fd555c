"""The environment of a run: versions, hardware, git commit."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("xnorlit", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "ffcv", "numpy", "wandb")


def environment(backend: str) -> dict[str, Any]:
    """The run's `environment.json`.

    Args:
        backend: The loader that the data module chose, `ffcv` or `folder`.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": git_state(),
        "command": command(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "backend": backend,
    }


def command() -> str:
    """The command line of this process; `python -m xnorlit` counts as `xnorlit`."""
    program = Path(sys.argv[0]).name
    return shlex.join(["xnorlit" if program == "__main__.py" else program, *sys.argv[1:]])


def changes_since(file: Path) -> str:
    """`torch 2.4.0 -> 2.5.1, git a1b2c3d -> e4f5a6b`: what changed since a run started. A resumed run prints it.

    Args:
        file: The run's environment.json.
    """
    try:
        then = json.loads(file.read_text(encoding="utf-8"))
        packages, commit = dict(then["packages"]), str(then["git"]["commit"] or "")
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # The reader of the run reports the damage.
    changed = [
        f"{name} {packages.get(name, 'absent')} -> {_version(name) or 'absent'}"
        for name in PACKAGES
        if packages.get(name) != _version(name)
    ]
    now = str(git_state()["commit"] or "")
    if commit and now and commit != now:
        changed.append(f"git {commit[:7]} -> {now[:7]}")
    return ", ".join(changed)


def git_state() -> dict[str, Any]:
    """`{commit, dirty}` of the checkout that this package runs from; the commit is None outside of one.

    Markdown does not count as a change: no run depends on it, and `xnorlit table` writes some between runs.
    """

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ":(top)", ":(top,exclude)*.md")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": False}


def processor() -> str:
    """Name of the processor; on Linux, only /proc has it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        for key, value in fields.items():
            if key.strip() == "model name":
                return value.strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
