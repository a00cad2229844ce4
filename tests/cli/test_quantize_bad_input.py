"""What is wrong with a model, a text or a disk is told in one sentence, and nothing is left behind."""
import os
import pathlib
import resource
import subprocess

import pytest
import wide_model
from conftest import COMMAND, MODELS, fails

VOCABULARY = MODELS / "llama" / "model.gguf"
METHODS = [["--method", "itf"], ["--method", "absmean"], ["--tokens", "512", "--tune", "0"],
           ["--tokens", "512", "--tune", "0", "--portable"]]
QUICK = ["--threads", "1", "--no-eval", "--quiet"]


def refuses(folder, source, *options, **more):
    before = sorted(folder.iterdir())
    sentence = fails(1, "quantize", source, folder / "out.gguf", *QUICK, *options, **more)
    assert sorted(folder.iterdir()) == before
    return sentence


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_no_numbers(tmp_path, method):
    source = tmp_path / "in.gguf"
    wide_model.write(source, VOCABULARY, damage="blk.0.ffn_up.weight")
    sentence = refuses(tmp_path, source, *method)
    assert "blk.0.ffn_up.weight" in sentence and "row 1" in sentence and "NaN" in sentence


def test_missing_tensors(tmp_path):
    source = tmp_path / "in.gguf"
    wide_model.write(source, VOCABULARY, drop="blk.0.ffn_down.weight")
    assert "blk.0.ffn_down" in refuses(tmp_path, source)


def test_groups_that_do_not_fit_the_layout(tmp_path, wide):
    assert "96" in refuses(tmp_path, wide, "--type", "TQ2_0", "--group", "96")


@pytest.mark.parametrize("name, content, part", [
    ("empty.txt", b"", "no calibration text"), ("lines.jsonl", b'{"text": "a"}\nnot json\n', "line 2"),
    ("lines.jsonl", b'{"other": 1}\n', "line 1")])
def test_calibration_that_is_no_text(tmp_path, wide, name, content, part):
    text = tmp_path / name
    text.write_bytes(content)
    sentence = refuses(tmp_path, wide, "--calib", text)
    assert name in sentence and part in sentence


def test_calibration_that_is_absent(tmp_path, wide):
    assert "absent.txt" in refuses(tmp_path, wide, "--calib", tmp_path / "absent.txt")


def test_calibration_of_any_bytes(tmp_path, wide):
    """Bytes that are no text are tokens all the same: the run ends well or with a sentence, and never half done."""
    garbage = tmp_path / "garbage.bin"
    garbage.write_bytes(bytes(range(256)) * 40)
    out = tmp_path / "out.gguf"
    done = subprocess.run([COMMAND, "quantize", wide, out, *QUICK, "--tokens", "512", "--no-receipt", "--calib", garbage],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1) and out.exists() == (done.returncode == 0)
    assert not (tmp_path / "out.gguf.resume").exists()


def limit(what, amount):
    return lambda: resource.setrlimit(what, (amount, amount))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [100, 60000, 150000])
def test_a_full_disk(tmp_path, wide, method, size):
    """A limit on the size of files ends a write as a full disk does."""
    out = tmp_path / "out.gguf"
    done = subprocess.run([COMMAND, "quantize", wide, out, *QUICK, *method], capture_output=True, text=True, timeout=100,
                          preexec_fn=limit(resource.RLIMIT_FSIZE, size))
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not out.exists() and all(path.name == "out.gguf.resume" for path in tmp_path.iterdir())


@pytest.mark.skipif("asan" in os.environ.get("STERNA_BUILD", ""), reason="sanitizers reserve more than any limit")
def test_too_little_memory(tmp_path, wide):
    out = tmp_path / "out.gguf"
    done = subprocess.run([COMMAND, "quantize", wide, out, *QUICK, "--tokens", "16m"], capture_output=True, text=True,
                          timeout=100, preexec_fn=limit(resource.RLIMIT_AS, 4 << 30))
    assert done.returncode == 1 and "GB are free" in done.stderr and "--tokens" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(tmp_path, wide):
    assert "absent" in fails(1, "quantize", wide, tmp_path / "absent" / "out.gguf", *QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_text_to_evaluate_that_is_too_short(tmp_path, wide):
    """The model is complete by then: the receipt says why nothing was measured."""
    short = tmp_path / "short.txt"
    short.write_text("too short")
    done = subprocess.run([COMMAND, "quantize", wide, tmp_path / "out.gguf", "--method", "itf", "--eval", short, "--json"],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "short.txt" in done.stdout and (tmp_path / "out.gguf").exists()
    assert "tokens" in pathlib.Path(tmp_path / "out.gguf.receipt.html").read_text()
