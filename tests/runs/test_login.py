"""Training, the dashboard and sync use W&B according to the login and WANDB_MODE."""

import subprocess
import sys

import pytest

from xnorlit.runs.login import wandb_mode


@pytest.mark.parametrize(
    ("said", "mode"), [("online", "online"), ("offline", "offline"), ("dryrun", "offline"), ("disabled", "off")]
)
def test_the_environment_has_the_last_word(monkeypatch, said, mode):
    monkeypatch.setenv("WANDB_MODE", said)
    assert wandb_mode() == mode


@pytest.mark.parametrize(("key", "mode"), [(None, "offline"), ("a" * 40, "online")])
def test_without_it_a_login_decides_and_nothing_prompts(monkeypatch, key, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    code = "from xnorlit.runs.login import wandb_mode; print(wandb_mode())"  # a process of its own: wandb remembers
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    assert done.stdout.split()[-1] == mode
