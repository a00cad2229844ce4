"""Installs into a fresh prefix and builds the example against it in every promised way."""
import json
import os
import shutil
import subprocess

import pytest
from conftest import COMMAND, MODELS, ROOT

BUILD = os.environ.get("STERNA_BUILD")
MESSAGES = '[{"role": "user", "content": "they summ"}]'
MODEL = MODELS / "llama" / "model.gguf"
pytestmark = pytest.mark.skipif(not BUILD, reason="STERNA_BUILD does not name the build folder")


def call(*args, **more):
    done = subprocess.run([str(word) for word in args], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    stage = tmp_path_factory.mktemp("stage")
    call("cmake", "--install", BUILD, "--prefix", "/opt/sterna", env={**os.environ, "DESTDIR": str(stage)})
    # moved, as packages are: nothing may depend on the place where it was installed first
    moved = tmp_path_factory.mktemp("moved") / "sterna"
    shutil.move(stage / "opt" / "sterna", moved)
    return moved


def library_folder(prefix):
    (found,) = prefix.rglob("pkgconfig")
    return found.parent


def cache(name):
    for line in open(os.path.join(BUILD, "CMakeCache.txt")):
        if line.startswith(name + ":"):
            return line.split("=", 1)[1].strip()


def compiler():
    flags = "-fsanitize=address,undefined" if cache("STERNA_SANITIZE") == "ON" else ""
    return [cache("CMAKE_C_COMPILER"), *flags.split()]


def environment(prefix):
    return {**os.environ, "PKG_CONFIG_PATH": str(library_folder(prefix) / "pkgconfig"),
            "CMAKE_PREFIX_PATH": str(prefix)}


def answers(program, prefix, **more):
    return call(program, MODEL, MESSAGES, env={**environment(prefix), **more})


def test_everything_is_there(prefix):
    library = library_folder(prefix)
    for path in ["bin/sterna", "include/sterna.h", "share/man/man1/sterna.1",
                 "share/bash-completion/completions/sterna", "share/zsh/site-functions/_sterna",
                 "share/fish/vendor_completions.d/sterna.fish"]:
        assert (prefix / path).stat().st_size > 0, path
    for name in ["libsterna.a", "libsterna.so", "pkgconfig/sterna.pc", "cmake/sterna/sternaConfig.cmake",
                 "cmake/sterna/sternaConfigVersion.cmake"]:
        assert (library / name).stat().st_size > 0, name
    assert call(prefix / "bin" / "sterna", "--version") == call(COMMAND, "--version")
    assert (prefix / "share/man/man1/sterna.1").read_text() == call(COMMAND, "help", "--man")
    for path in prefix.rglob("*"):
        if path.suffix in (".pc", ".cmake"):
            for folder in ["src", "include", "build"]:
                assert f"{ROOT}/{folder}" not in path.read_text(), path


def test_pkg_config_shared(prefix, tmp_path):
    flags = call("pkg-config", "--cflags", "--libs", "sterna", env=environment(prefix)).split()
    assert not any(word in " ".join(flags) for word in ["jansson", "pcre2"]), "a shared library brings its own"
    call(*compiler(), ROOT / "examples" / "answer.c", "-o", tmp_path / "answer", *flags)
    assert answers(tmp_path / "answer", prefix, LD_LIBRARY_PATH=str(library_folder(prefix))).strip()


def test_pkg_config_static(prefix, tmp_path):
    # only the archive is left, so that the linker cannot take the shared library instead
    alone = tmp_path / "sterna"
    shutil.copytree(prefix, alone, symlinks=True)
    for shared in library_folder(alone).glob("libsterna.so*"):
        shared.unlink()
    flags = call("pkg-config", "--static", "--cflags", "--libs", "sterna", env=environment(alone)).split()
    call(*compiler(), ROOT / "examples" / "answer.c", "-o", tmp_path / "answer", *flags)
    assert answers(tmp_path / "answer", alone).strip()


def test_find_package(prefix, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.20)
project(answer C)
find_package(sterna 0.1 REQUIRED COMPONENTS static)
add_executable(answer {ROOT}/examples/answer.c)
target_link_libraries(answer PRIVATE sterna::sterna)
add_executable(answer_static {ROOT}/examples/answer.c)
target_link_libraries(answer_static PRIVATE sterna::static)
""")
    options = [f"-DCMAKE_C_COMPILER={compiler()[0]}", f"-DCMAKE_C_FLAGS={' '.join(compiler()[1:])}"]
    call("cmake", "-S", tmp_path, "-B", tmp_path / "b", *options, env=environment(prefix))
    call("cmake", "--build", tmp_path / "b", env=environment(prefix))
    assert answers(tmp_path / "b" / "answer", prefix).strip()
    assert answers(tmp_path / "b" / "answer_static", prefix).strip()


def test_the_example_is_short():
    assert len((ROOT / "examples" / "answer.c").read_text().splitlines()) <= 50


def test_the_example_says_what_is_wrong(prefix, tmp_path):
    flags = call("pkg-config", "--cflags", "--libs", "sterna", env=environment(prefix)).split()
    call(*compiler(), ROOT / "examples" / "answer.c", "-o", tmp_path / "answer", *flags)
    done = subprocess.run([tmp_path / "answer", "/absent.gguf", json.dumps([])], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(library_folder(prefix))})
    assert done.returncode == 1 and done.stderr.startswith("answer: /absent.gguf")
