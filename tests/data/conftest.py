import pytest
from PIL import Image

from tests.data.pictures import COUNT, photographs


@pytest.fixture
def tree(tmp_path):
    """A folder tree of 3 classes, 60 training and 15 validation images of 16 x 16."""
    root = tmp_path / "tree"
    for split, count, seed in (("train", COUNT, 0), ("val", 15, 1)):
        for index, image in enumerate(photographs(count, seed=seed)):
            folder = root / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index:03d}.png")
    return root
