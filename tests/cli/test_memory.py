"""Running a model takes the memory of its weights and its cache, and little else."""
import json
import os
import sys

import pytest
from conftest import ROOT, succeeds

sys.path.insert(0, str(ROOT / "tools"))
import synthetic_gguf  # noqa: E402

SHAPE = {"name": "memory", "family": "llama", "width": 1024, "ffn": 2816, "heads": 16, "kv_heads": 4, "head_dim": 64,
         "layers": 16, "vocabulary": 512, "context": 4096, "rope_base": 10000, "tied": True}
PROGRAM = 16e6  # the command with its libraries, and buffers of a small pass


@pytest.mark.skipif("asan" in os.environ.get("STERNA_BUILD", ""), reason="sanitizers take memory of their own")
@pytest.mark.parametrize("kind", ["TQ2_0", "TQ1_0"])
def test_peak_memory(tmp_path, kind):
    path = tmp_path / "memory.gguf"
    synthetic_gguf.write(path, SHAPE, kind, "Q6_K", "llama")
    report = json.loads(succeeds("bench", path, "--prefill", 16, "--context", 0, "--tokens", 1, "--repeat", 1,
                                 "--json").stdout)
    assert report["resident_bytes"] > 40e6
    assert report["rss_bytes"] < 1.1 * (report["resident_bytes"] + report["cache_bytes"]) + PROGRAM
