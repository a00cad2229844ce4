"""Several processes make the same file as one, bit by bit. Only for builds with -DSTERNA_MPI=ON."""
import os
import pathlib
import shutil
import subprocess

import pytest
import wide_model
from conftest import COMMAND, MODELS, fails, succeeds

CACHE = pathlib.Path(os.environ.get("STERNA_BUILD", COMMAND.parent)) / "CMakeCache.txt"
WITH_MPI = CACHE.exists() and "STERNA_MPI:BOOL=ON" in CACHE.read_text()
OPTIONS = ["--tokens", "2k", "--tune", "0", "--threads", "1", "--quiet"]

pytestmark = pytest.mark.skipif(not WITH_MPI or not shutil.which("mpirun"), reason="no MPI in this build")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("mpi") / "deep.gguf"
    wide_model.write(path, vocabulary_of=MODELS / "llama" / "model.gguf", layers=2)
    return path


def together(processes, *args):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(["mpirun", "--oversubscribe", "-n", str(processes), COMMAND, *map(str, args)], text=True,
                          capture_output=True, timeout=250, env=environment)


@pytest.mark.parametrize("options", [["--bits", "2.2"], ["--portable", "--group", "64"]])
def test_the_same_file(tmp_path, model, options):
    one, two = tmp_path / "one.gguf", tmp_path / "two.gguf"
    succeeds("quantize", model, one, *OPTIONS, *options)
    done = together(2, "quantize", model, two, *OPTIONS, *options)
    assert done.returncode == 0, done.stderr
    assert one.read_bytes() == two.read_bytes()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{name}.gguf{end}" for name in ("one", "two") for end in ("", ".receipt.json", ".receipt.html")}


def test_a_failure_ends_all(tmp_path, model):
    done = together(2, "quantize", model, tmp_path / "out.gguf", *OPTIONS, "--resume")
    assert done.returncode != 0 and "no journal" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_alone(tmp_path, model):
    """Without mpirun such a build is like any other."""
    assert "no interrupted run" in fails(1, "quantize", model, tmp_path / "out.gguf", *OPTIONS, "--resume")
