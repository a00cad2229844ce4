"""The tools that measure: files of known shapes with random weights, and runs beside other engines."""
import json
import math
import os
import stat
import subprocess
import sys

import pytest
from conftest import COMMAND, DATA, ROOT, run, succeeds

SYNTHETIC = ROOT / "tools" / "synthetic_gguf.py"
BENCH = ROOT / "tools" / "bench"
TEXT = DATA / "text" / "shakespeare.txt"


def tool(*args, **more):
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")
    environment.pop("STERNA_PEERS", None)
    return subprocess.run([sys.executable, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment, timeout=120, **more)


def synthetic(out, kind, *more):
    done = tool(SYNTHETIC, "tiny", kind, out, "--sterna", COMMAND, *more)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("kind, head, bits", [
    ("TQ2_0", "Q6_K", 2.0625), ("TQ1_0", "F16", 1.6875), ("Q2_0", "Q8_0", 2.25), ("I2_S", "F32", 2)])
def test_synthetic_files_run(tmp_path, kind, head, bits):
    """Every weight is a trit, the sizes are those of the shape, and the answers are numbers."""
    path = synthetic(tmp_path / "model.gguf", kind, "--head", head)
    report = json.loads(succeeds("inspect", path, "--json").stdout)
    tiny = json.loads(succeeds("bench", "--shape", "list", "--json").stdout)["shapes"][0]
    assert report["family"] == tiny["family"] and report["problems"] == [] and report["tokens"] == tiny["vocabulary"]
    assert report["ternary_bits_per_weight"] == pytest.approx(bits, abs=0.005)
    assert {row["type"] for row in report["types"]} == {kind, head, "F32"}
    matrices = sum(row["weights"] for row in report["types"] if row["type"] in (kind, head))
    assert matrices - (1280 if head == "F32" else 0) == tiny["parameters"]  # F32 has the five norms as well
    text = tmp_path / "text"
    text.write_text(TEXT.read_text()[:600])
    perplexity = json.loads(succeeds("eval", path, "--text", text, "--context", 64, "--json").stdout)["perplexity"]
    assert math.isfinite(perplexity) and 10 < perplexity < 1e6


def test_synthetic_files_repeat_themselves(tmp_path):
    first, second = (synthetic(tmp_path / name, "TQ1_0").read_bytes() for name in ("a", "b"))
    assert first == second


def test_synthetic_architecture_and_refusals(tmp_path):
    path = synthetic(tmp_path / "model.gguf", "I2_S", "--arch", "qwen2")
    assert run("inspect", path).returncode == 0  # the name is another one: what that model needs is missing
    assert json.loads(succeeds("inspect", path, "--json").stdout)["family"] == "qwen2"
    done = tool(SYNTHETIC, "no such", "TQ2_0", tmp_path / "x", "--sterna", COMMAND)
    assert done.returncode == 1 and "bitnet-2b4t" in done.stderr
    assert tool(SYNTHETIC, "tiny", "Q4_0", tmp_path / "x", "--sterna", COMMAND).returncode == 2


FAKE = """#!/usr/bin/env python3
import json, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("loading ...")
print(json.dumps([{"n_prompt": int(arguments["-p"]), "n_gen": 0, "avg_ts": SPEED},
                  {"n_prompt": 0, "n_gen": int(arguments["-n"]), "avg_ts": SPEED / 2}]))
"""


def fake_peer(folder, speed):
    folder.mkdir()
    program = folder / "llama-bench"
    program.write_text(FAKE.replace("SPEED", str(speed)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_bench_beside_peers(tmp_path):
    """Alternating runs, medians and ratios; a slow peer drops out after its first run."""
    model = synthetic(tmp_path / "random.gguf", "TQ2_0")
    fast, slow = fake_peer(tmp_path / "fast", 1000.0), fake_peer(tmp_path / "slow", 10.0)
    results, speed = tmp_path / "results" / "cpu.json", tmp_path / "SPEED.md"
    speed.write_text("# Speed\n\nWords that stay.\n")
    args = [BENCH, "--cases", "none", model, "--sterna", COMMAND, "--tries", 1, "--disturbed", 100, "--threads", 1,
            "--out", results, "--speed", speed, "--peer", f"llama.cpp={fast}", "--peer", f"ik_llama.cpp={slow}"]
    for runs in (1, 2):  # the second time takes the place of the first
        done = tool(*args, "--runs", runs)
        assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert {"cpu", "processors", "memory_bytes", "kernel", "date", "rows"} == set(found)
    rows = {(row["engine"], row["what"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 6
    assert rows["llama.cpp", "prefill 512"]["tok_per_s"] == 1000 and rows["llama.cpp", "decode at 0"]["tok_per_s"] == 500
    assert [rows[name, "decode at 0"]["runs"] for name in ("Sterna", "llama.cpp", "ik_llama.cpp")] == [2, 2, 1]
    own = rows["Sterna", "decode at 0"]
    assert own["slowest"] <= own["tok_per_s"] <= own["fastest"] and own["read_percent"] > 0 and own["rss_bytes"] > 0
    assert rows["Sterna", "prefill 512"]["peak_percent"] > 0
    assert all(0 <= row["others_percent"] <= 100 and row["machine_read_gb_s"] > 0 for row in rows.values())
    text = speed.read_text()
    assert text.startswith("# Speed\n\nWords that stay.\n") and text.count("<!-- bench ") == 1
    lines = [line for line in text.splitlines() if "decode at 0" in line]
    assert len(lines) == 1 and lines[0].endswith(f"| {own['tok_per_s'] / 500:.2f} |")


def test_bench_refuses_what_is_no_peer(tmp_path):
    done = tool(BENCH, "--peer", f"llama.cpp={tmp_path}")
    assert done.returncode == 2 and "llama-bench" in done.stderr
    assert "2b-avx2" in tool(BENCH, "--cases", "3b").stderr
