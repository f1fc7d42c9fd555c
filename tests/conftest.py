"""No test contacts W&B's servers, even with a login. Each test has a time limit."""

import gc
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
    """While a run is open, wandb.login does nothing, so the next test would find no login."""
    yield
    if (wandb := sys.modules.get("wandb")) and getattr(wandb, "run", None):
        wandb.finish()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The collector would look at the million objects of the imports and tests again and again, also in each fork."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


SLOW_LIMIT = 1800  # Seconds; pyproject.toml has the limit of the other tests.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if room := sys.modules.get("xnorlit.binarize"):  # Every test of all binarizers would meet a test's own one.
        known = room.binarizers().values()
        if strange := [f"{each.__module__}.{each.__name__}" for each in known if each.__module__.startswith("tests.")]:
            raise pytest.UsageError(f"{', '.join(strange)}: begin the name of a test's binarizer with an underscore")
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_LIMIT))
