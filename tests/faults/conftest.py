from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import forked
from tests.training.conftest import no_account, photos


class Whole(NamedTuple):
    """A run, and its duration."""

    folder: Path
    seconds: float


__all__ = ["no_account", "photos"]


@pytest.fixture(scope="session")
def whole(photos, tmp_path_factory):
    """An uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    training = forked.train(forked.words(photos, root), root / "log")
    return Whole(forked.folder(root), training.seconds)
