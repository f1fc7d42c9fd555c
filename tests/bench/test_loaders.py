import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.ffcv
def test_the_loader_benchmark_measures_every_loader(tmp_path):
    pytest.importorskip("ffcv")
    out = tmp_path / "speeds.json"
    command = [sys.executable, "-m", "xnorlit.bench.loaders", "--images", "80", "--rounds", "1", "--json", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    measured = json.loads(out.read_text())
    assert len(measured["images_per_second"]) == 5
    assert min(measured["images_per_second"].values()) > 0
    assert set(measured["ratios"]) == {"ffcv_like_for_like_over_decode_jpeg", "ffcv_recipe_over_pil"}
