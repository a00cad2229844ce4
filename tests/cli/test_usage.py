"""Command lines that make no sense end with status 2, one sentence, and a pointer to the help."""
import os
import signal
import subprocess

import pytest
from conftest import COMMAND, MODELS, fails, run, succeeds

LLAMA = MODELS / "llama" / "model.gguf"


@pytest.mark.parametrize("args, says", [
    (["rnu"], "did you mean 'run'?"),
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["--tmep", "3"], "the command comes first"),
    (["help", "tokenise"], "did you mean 'tokenize'?"),
    (["run", "m", "--temprature", "1"], "did you mean --temp?"),
    (["run", "m", "--topk=3"], "did you mean --top-k?"),
    (["run", "m", "--xyzzy"], "unknown option --xyzzy"),
    (["run", "m", "-X"], "unknown option -X"),
    (["run", "m", "--temp"], "--temp needs a value"),
    (["run", "m", "-p"], "-p needs a value"),
    (["run", "m", "--quiet=yes"], "--quiet takes no value"),
    (["run", "m", "--temp", "warm"], "--temp takes a number from 0 to 100, not 'warm'"),
    (["run", "m", "--temp", "nan"], "not 'nan'"),
    (["run", "m", "--temp", "inf"], "not 'inf'"),
    (["run", "m", "--temp", "0x10"], "not '0x10'"),
    (["run", "m", "--temp=-1"], "not '-1'"),
    (["run", "m", "--top-p", "1.5"], "from 0 to 1"),
    (["run", "m", "--top-k", "-1"], "not '-1'"),
    (["run", "m", "--top-k", "1.5"], "a whole number"),
    (["run", "m", "--top-k", "5000000000"], "from 0 to 2147483647"),
    (["run", "m", "--seed", "99999999999999999999999"], "a whole number"),
    (["run", "m", "--ctx", "4q"], "not '4q'"),
    (["run", "m", "--ctx", "9999999g"], "not '9999999g'"),
    (["run", "m", "--threads", ""], "not ''"),
    (["run", "m", "--kv", "f8"], "one of f16|f32|q8"),
    (["run", "m", "other"], "one argument too many"),
    (["run", "m", "-p", "x", "-f", "y"], "exclude each other"),
    (["run", "m", "-p", "x", "--raw", "--system", "y"], "--system needs the chat template"),
    (["eval"], "its argument is missing"),
    (["eval", "m"], "either --text FILE or --tasks FILE"),
    (["eval", "m", "--text", "a", "--tasks", "b"], "either --text FILE or --tasks FILE"),
    (["eval", "m", "--tasks", "b", "--kl-against", "c"], "--kl-against goes with --text"),
    (["eval", "m", "--text", "a", "--stride", "512"], "--stride must be smaller"),
    (["eval", "m", "--text", "a", "--context", "1"], "from 2 to"),
    (["bench", "m", "--prefill", "1,,2"], "not '1,,2'"),
    (["bench", "m", "--prefill", "0"], "from 1 to"),
    (["bench", "m", "--context", ",".join(["1"] * 65)], "at most 64"),
    (["tokenize"], "its argument is missing"),
    (["tokenize", "m", "two", "words"], "put it into quotes"),
    (["tokenize", "m", "--decode", "1", "--file", "x"], "exclude each other"),
    (["template", "m"], "--messages FILE is missing"),
    (["template", "m", "-m", "-", "--tools", "-"], "only one of"),
    (["convert", "in"], "an argument is missing"),
    (["convert", "in", "out", "--type", "Q9"], "one of native|TQ1_0|"),
    (["quantize", "in", "out", "--method", "magic"], "one of sterna|pt2|itf|absmean|twn"),
    (["verify", "a", "b"], "one argument too many"),
    (["completion", "tcsh"], "bash, zsh or fish"),
])
def test_usage_errors(args, says):
    sentence = fails(2, *args)
    assert says in sentence
    assert "--help'" in sentence


def test_decode_refuses_what_is_no_id():
    assert "not 'x'" in fails(2, "tokenize", LLAMA, "--decode", "1 x")
    fails(2, "tokenize", LLAMA, "--decode", "99999999999")
    fails(1, "tokenize", LLAMA, "--decode", "320")


def test_two_dashes_end_the_options():
    assert succeeds("tokenize", LLAMA, "--", "--json").stdout == succeeds("tokenize", "--", LLAMA, "--json").stdout
    assert succeeds("tokenize", LLAMA, "--", "--json").stdout != succeeds("tokenize", LLAMA, "json").stdout


def test_options_stand_anywhere_and_values_may_follow_an_equals_sign():
    expected = succeeds("tokenize", LLAMA, "the bird", "--json").stdout
    assert succeeds("tokenize", "--json", LLAMA, "the bird").stdout == expected
    assert succeeds("run", LLAMA, "-pthe", "-n3", "--temp=0", "-q").stdout == \
        succeeds("run", "-qn", "3", LLAMA, "--prompt=the", "--temp", "0").stdout


def test_no_model_says_what_to_type():
    assert "name one: sterna run MODEL.gguf" in fails(1, "run", "-p", "x")


# ---- files that are not there or not what they should be ----

@pytest.mark.parametrize("command", [
    ["run", "MODEL", "-p", "x"], ["eval", "MODEL", "--text", __file__], ["bench", "MODEL"], ["inspect", "MODEL"],
    ["tokenize", "MODEL", "x"], ["template", "MODEL", "--messages", "/dev/null"], ["convert", "MODEL", "OUT"],
    ["quantize", "MODEL", "OUT"], ["verify", "MODEL"],
])
def test_models_that_cannot_be_read(command, tmp_path):
    out = tmp_path / "out.gguf"
    fifo = tmp_path / "pipe.gguf"
    os.mkfifo(fifo)
    empty, cut = tmp_path / "empty.gguf", tmp_path / "cut.gguf"
    empty.touch()
    cut.write_bytes(LLAMA.read_bytes()[:3000])
    for path in [tmp_path / "absent.gguf", tmp_path, empty, cut, fifo, "/dev/zero"]:
        args = [str(path) if word == "MODEL" else str(out) if word == "OUT" else word for word in command]
        fails(1, *args, timeout=20)
        assert not out.exists()


def test_missing_side_files(tmp_path):
    absent = tmp_path / "absent"
    for args in [["run", LLAMA, "-f", absent], ["eval", LLAMA, "--text", absent], ["eval", LLAMA, "--tasks", absent],
                 ["tokenize", LLAMA, "--file", absent], ["template", LLAMA, "--messages", absent],
                 ["eval", LLAMA, "--text", __file__, "--kl-against", absent]]:
        assert str(absent) in fails(1, *args)
    assert "directory" in fails(1, "run", LLAMA, "-f", tmp_path).lower()


def test_error_sentences_cannot_steer_the_terminal(tmp_path):
    sentence = fails(1, "inspect", tmp_path / "\x1b[31mred\x9b32m\nsterna: second line")
    assert "\x1b" not in sentence and "\x9b" not in sentence and "\ufffd[31mred" in sentence


# ---- where the output goes ----

OUTPUTS = [["--help"], ["--version"], ["help", "--man"], ["completion", "bash"], ["inspect", LLAMA],
           ["inspect", LLAMA, "--json"], ["tokenize", LLAMA, "the bird"], ["run", LLAMA, "-p", "the", "-n", "4"],
           ["run", LLAMA, "-p", "the", "-n", "4", "--json"]]


@pytest.mark.parametrize("args", OUTPUTS)
def test_full_disk(args):
    with open("/dev/full", "w") as full:
        done = run(*args, stdout=full)
    assert done.returncode == 1
    assert "sterna: cannot write all of the output: No space left on device" in done.stderr


@pytest.mark.parametrize("args", OUTPUTS)
def test_closed_stdout(args):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", COMMAND, *map(str, args)], stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True)
    assert done.returncode == 1
    assert "cannot write all of the output" in done.stderr


def test_closed_stdout_never_becomes_the_output_file(tmp_path):
    out = tmp_path / "out.gguf"
    subprocess.run(["sh", "-c", 'exec "$@" >&- <&-', "sh", COMMAND, "convert", LLAMA, out], stderr=subprocess.DEVNULL)
    succeeds("convert", LLAMA, tmp_path / "good.gguf")
    assert out.read_bytes() == (tmp_path / "good.gguf").read_bytes()


def test_a_reader_that_leaves_is_no_error_message():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([COMMAND, "help", "--man"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode in (1, -signal.SIGPIPE)
