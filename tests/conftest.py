"""No test contacts W&B's servers, even with a login. Each test has a time limit."""

import os
import sys
from collections.abc import Iterator

import pytest

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"  # the port that discards
os.environ["NETRC"] = os.devnull
for name in ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def no_run_of_wandb_is_left_open() -> Iterator[None]:
    """While one is open, wandb.login does nothing: the next test that looks for a login would find none."""
    yield
    if (wandb := sys.modules.get("wandb")) and getattr(wandb, "run", None):
        wandb.finish()


SLOW_LIMIT = 1800  # Seconds; the limit of the other tests stands in pyproject.toml.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_LIMIT))
