"""Tests of the command `sterna`: standard library and pytest only.

The environment variable STERNA names the command; STERNA_BUILD the build folder it is from.
"""
import os
import pathlib
import subprocess

import pytest
import wide_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
MODELS = DATA / "models"
COMMAND = pathlib.Path(os.environ.get("STERNA", ROOT / "build" / "sterna")).resolve()


def run(*args, input=None, timeout=120, binary=False, env=None, **more):
    """Runs the command and returns the completed process; text unless `binary`."""
    if isinstance(input, str) and binary:
        input = input.encode()
    environment = {k: v for k, v in os.environ.items() if k not in ("STERNA_HISTORY", "LANG", "LC_ALL")}
    environment["LC_ALL"] = "C.UTF-8"
    # threads that wait sleep: tests share the processors with other tests
    environment["OMP_WAIT_POLICY"] = "passive"
    environment["STERNA_HISTORY"] = ""
    environment.update(env or {})
    if input is None and "stdin" not in more:
        more["stdin"] = subprocess.DEVNULL
    if "stdout" not in more:
        more["stdout"] = subprocess.PIPE
    return subprocess.run(
        [str(COMMAND), *map(str, args)], input=input, timeout=timeout, stderr=subprocess.PIPE, env=environment,
        text=not binary, **more)


def succeeds(*args, **more):
    done = run(*args, **more)
    assert done.returncode == 0, done.stderr
    return done


def fails(status, *args, **more):
    """The command ends with this status and one sentence on stderr, which is returned."""
    done = run(*args, **more)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sterna: "), done.stderr
    return lines[0]


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A model whose matrices fit into every ternary layout."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    wide_model.write(path, vocabulary_of=MODELS / "llama" / "model.gguf")
    return path
