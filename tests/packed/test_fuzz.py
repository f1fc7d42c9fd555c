"""The fuzzer's corpus loads and has every kind of layer, its mutations differ, and it reports what it finds."""

import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.packed import fuzz, tiny
from tests.packed.mutation import Corpus
from xnorlit.packed import load
from xnorlit.packed.document import OPERATIONS
from xnorlit.packed.layer import BORDERS, ENDINGS, OPERANDS, SUMS, WEIGHTS, Layer

FILES = sorted(fuzz.CORPUS.glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_corpus_still_loads_and_runs(path):
    network = load(path)
    assert np.isfinite(network(np.full((2, 8, 8, 3), 99, np.uint8), threads=2)).all()


def test_the_corpus_is_what_its_function_makes(tmp_path):
    tiny.write_corpus(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in FILES
    }


def test_the_corpus_has_every_kind_of_operand_weights_and_ending():
    nodes = [node for path in FILES for node in load(path).graph.steps]
    layers = [node.op for node in nodes if isinstance(node.op, Layer)]
    assert {type(node.op) for node in nodes} == {Layer, *OPERATIONS.values()}
    assert {layer.border for layer in layers} == set(BORDERS)
    assert {layer.accumulate for layer in layers} == set(SUMS)
    assert {layer.window_sum for layer in layers} == {False, True}
    assert {layer.operand.form for layer in layers} == set(OPERANDS)
    assert {layer.weights.form for layer in layers} == set(WEIGHTS)
    assert {layer.ending.form for layer in layers} == set(ENDINGS)
    assert {layer.operand.scale for layer in layers} == {"none", "K"}
    assert {layer.ending.per_position for layer in layers} == {False, True}
    assert {layer.groups > 1 for layer in layers} == {layer.pool is not None for layer in layers} == {False, True}


def test_a_file_follows_from_its_number_and_some_still_load(tmp_path):
    corpus, loaded = Corpus(fuzz.CORPUS), 0
    for index in range(100):
        content = corpus.mutated(random.Random(f"0 {index}"))
        assert content == corpus.mutated(random.Random(f"0 {index}"))
        (tmp_path / "file").write_bytes(content)
        loaded += fuzz.tried(tmp_path / "file") > 0
    assert 0 < loaded < 100


def test_a_finding_is_kept_with_its_number(tmp_path, monkeypatch):
    def fails(path):
        raise MemoryError

    monkeypatch.setattr(fuzz, "tried", fails)
    finding = tmp_path / "finding.xnor"
    assert fuzz.fuzz(10, 3, 7, finding) == 1
    assert finding.read_bytes() == Corpus(fuzz.CORPUS).mutated(random.Random("3 7"))
    assert fuzz.number_of(finding) == "7"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++") or not shutil.which("cmake"), reason="needs g++ and cmake")
def test_thousands_of_files_under_sanitizers_have_no_finding(tmp_path):
    command = [sys.executable, fuzz.__file__, "--files", "4000", "--seed", "1", "--finding", tmp_path / "finding.xnor"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
