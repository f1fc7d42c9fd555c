import pytest

from tests.faults import forked
from tests.training.conftest import no_account, photos

__all__ = ["no_account", "photos"]


@pytest.fixture(scope="session")
def whole(photos, tmp_path_factory):
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    forked.train(forked.words(photos, root), root / "log")
    return forked.folder(root)
