"""A calibrated run that is killed goes on where it was, and ends in the same file."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, MODELS, fails, succeeds

import wide_model

LAYER_BYTES = 140000  # of a layer in the journal, or a little less
OPTIONS = ["--tokens", "512", "--tune", "0", "--threads", "1", "--no-eval", "--no-receipt", "--quiet"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Several layers, so that a kill falls between some of them."""
    path = tmp_path_factory.mktemp("deep") / "deep.gguf"
    wide_model.write(path, vocabulary_of=MODELS / "llama" / "model.gguf", layers=5)
    return path


@pytest.fixture(scope="module")
def whole(deep):
    """What an uninterrupted run makes."""
    out = deep.with_name("whole.gguf")
    succeeds("quantize", deep, out, *OPTIONS)
    assert sorted(path.name for path in out.parent.iterdir()) == ["deep.gguf", "whole.gguf"]
    return out.read_bytes()


def journal(out):
    return out.with_name(out.name + ".resume") / "layers"


def interrupt(deep, out, size, *more):
    """Kills a run as soon as its journal has `size` bytes."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen([COMMAND, "quantize", deep, out, *OPTIONS, *more], env=environment)
    until = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < until:
        if journal(out).exists() and journal(out).stat().st_size >= size:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()


def test_a_killed_portable_run_goes_on(tmp_path, deep):
    """Its folded model is made again."""
    whole, out = tmp_path / "whole.gguf", tmp_path / "out.gguf"
    succeeds("quantize", deep, whole, *OPTIONS, "--portable")
    interrupt(deep, out, 2 * LAYER_BYTES, "--portable")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf.resume", "whole.gguf"]
    succeeds("quantize", deep, out, *OPTIONS, "--portable", "--resume")
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("layers", [0.025, 0.2, 4])  # the first: while sensitivities are measured
def test_a_killed_run_goes_on(tmp_path, deep, whole, layers):
    out = tmp_path / "out.gguf"
    interrupt(deep, out, int(layers * LAYER_BYTES))
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf.resume"]
    succeeds("quantize", deep, out, *OPTIONS, "--resume")
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_killed_again_and_again(tmp_path, deep, whole):
    out = tmp_path / "out.gguf"
    interrupt(deep, out, int(1.2 * LAYER_BYTES))
    interrupt(deep, out, int(3.2 * LAYER_BYTES), "--resume")
    sizes = journal(out).stat().st_size
    assert sizes >= 3 * LAYER_BYTES
    succeeds("quantize", deep, out, *OPTIONS, "--resume")
    assert out.read_bytes() == whole


def test_a_journal_that_is_not_whole(tmp_path, deep, whole):
    """What a kill cut off is made again; what is damaged elsewhere, or of other settings, is refused."""
    out = tmp_path / "out.gguf"
    interrupt(deep, out, int(2.5 * LAYER_BYTES))
    file = journal(out)
    good = file.read_bytes()
    resume = ["quantize", deep, out, *OPTIONS, "--resume"]
    file.write_bytes(good[:20])
    assert "damaged" in fails(1, *resume)
    file.write_bytes(good[:10000] + bytes([good[10000] ^ 1]) + good[10001:])
    assert "damaged" in fails(1, *resume)
    file.write_bytes(good)
    recipe = tmp_path / "recipe.json"
    matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    decisions = {f"blk.{layer}.{matrix}.weight": {"type": "NATIVE", "group": 64}
                 for layer in range(5) for matrix in matrices}
    recipe.write_text(json.dumps({"recipe": 1, "options": {}, "tensors": decisions}))
    for other in (["--damping", "0.02"], ["--damping", "0.05"], ["--bits", "2"],
                  ["--stages", "columns,refit,descent"], ["--recipe", recipe]):
        assert "other settings" in fails(1, *resume, *other)
    kept = {name: file.with_name(name).read_bytes() for name in ("states.0", "states.1")}
    for name in kept:
        file.with_name(name).write_bytes(kept[name][:-4] + b"abcd")
    assert "damaged" in fails(1, *resume)
    for name in kept:
        file.with_name(name).write_bytes(kept[name])
    succeeds(*resume)
    assert out.read_bytes() == whole


def test_a_stale_journal_is_mentioned(tmp_path, deep, whole):
    out = tmp_path / "out.gguf"
    assert "no interrupted run" in fails(1, "quantize", deep, out, *OPTIONS, "--resume")
    interrupt(deep, out, int(1.1 * LAYER_BYTES))
    done = succeeds("quantize", deep, out, *OPTIONS[:-1])
    assert "interrupted run" in done.stderr and "--resume" in done.stderr
    assert out.read_bytes() == whole
    assert "only the method sterna" in fails(1, "quantize", deep, out, "--method", "itf", "--resume")
