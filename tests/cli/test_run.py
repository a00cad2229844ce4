"""`sterna run`: one answer."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
import wide_model
from conftest import COMMAND, MODELS, fails, run, succeeds

LLAMA = MODELS / "llama" / "model.gguf"
GOLDENS = sorted(path.parent for path in MODELS.glob("*/golden.json"))


def model_paths(folder):
    golden = json.loads((folder / "golden.json").read_text())
    return [folder / name for name in golden["models"]]


@pytest.mark.parametrize("path", [path for folder in GOLDENS for path in model_paths(folder)],
                         ids=lambda path: f"{path.parent.name}-{path.name}")
def test_greedy_answers_are_those_of_transformers(path):
    """The whole way down, from the words of a prompt to the words of the answer."""
    golden = json.loads((path.parent / "golden.json").read_text())

    def text_of(ids):
        return succeeds("tokenize", path, "--decode", " ".join(map(str, ids)), binary=True).stdout

    try:
        prompt = text_of(golden["prompt"]).decode()
    except UnicodeDecodeError:
        pytest.skip("this vocabulary's bytes for the golden ids are no text")
    ids = json.loads(succeeds("tokenize", path, prompt, "--json").stdout)["ids"]
    if ids != golden["prompt"]:
        pytest.skip("these ids are not what a text gives")
    exact = ["--float"] if golden["activations"] == "float" else []
    done = succeeds("run", path, "--raw", "-p", prompt, "--temp", 0, "-n", 64, "--ignore-eos", "--ctx", len(ids) + 64,
                    "--json", *exact)
    answer = json.loads(done.stdout)
    # the answer goes on where the prompt ends: compare the text of both together (control tokens give no text)
    whole = text_of(golden["prompt"] + golden["greedy"]).decode(errors="replace")
    whole = re.sub(r"</?s>|<\|im_(start|end)\|>|<pad>|<unk>", "", whole)
    assert whole.startswith(prompt)
    assert answer["text"] == whole[len(prompt):]
    assert answer["tokens"] == 64 and answer["stop_reason"] == "length"


def test_json_has_the_answer_and_its_figures():
    done = succeeds("run", LLAMA, "-p", "the bird", "-n", 5, "--seed", 7, "--ignore-eos", "--json")
    answer = json.loads(done.stdout)
    assert set(answer) == {"model", "text", "tokens", "prompt_tokens", "tokens_per_s", "prompt_tokens_per_s",
                           "stop_reason", "seed"}
    assert answer["tokens"] == 5 and answer["seed"] == 7 and answer["stop_reason"] == "length"
    assert answer["prompt_tokens"] > 5 and answer["tokens_per_s"] > 0
    assert done.stderr == ""


def test_text_on_stdout_figures_on_stderr():
    done = succeeds("run", LLAMA, "-p", "the bird", "-n", 5, "--temp", 0)
    text = json.loads(succeeds("run", LLAMA, "-p", "the bird", "-n", 5, "--temp", 0, "--json").stdout)["text"]
    assert done.stdout == text + ("" if text.endswith("\n") else "\n")
    assert "tokens/s" in done.stderr and done.stderr.count("\n") == 1
    assert succeeds("run", LLAMA, "-p", "the bird", "-n", 5, "--temp", 0, "--quiet").stderr == ""


def answer(*args, **more):
    return json.loads(succeeds("run", LLAMA, *args, "--json", **more).stdout)


def test_prompts_from_everywhere_are_the_same(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("they summ\n")
    expected = answer("-p", "they summ", "-n", 8, "--temp", 0)["text"]
    assert answer("-p", "-", "-n", 8, "--temp", 0, input="they summ\n")["text"] == expected
    assert answer("-n", 8, "--temp", 0, input="they summ")["text"] == expected
    assert answer("-f", file, "-n", 8, "--temp", 0)["text"] == expected
    assert answer("-f", "-", "-n", 8, "--temp", 0, input="they summ")["text"] == expected


def test_the_chat_template_is_used_unless_raw(tmp_path):
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "system", "content": "S"}, {"role": "user", "content": "bird"}]))
    rendered = succeeds("template", LLAMA, "--messages", messages).stdout
    assert "bird" in rendered and "S" in rendered
    ids = json.loads(succeeds("tokenize", LLAMA, rendered, "--special", "--json").stdout)["ids"]
    chat = answer("-p", "bird", "--system", "S", "-n", 6, "--temp", 0)
    assert chat["prompt_tokens"] == len(ids)
    raw = answer("-p", rendered, "--raw", "--special", "-n", 6, "--temp", 0)
    assert raw["text"] == chat["text"]
    assert answer("-p", "bird", "--raw", "-n", 6, "--temp", 0)["prompt_tokens"] < len(ids)


def test_variables_reach_the_template(tmp_path):
    path = tmp_path / "model.gguf"
    wide_model.write(path, vocabulary_of=LLAMA, template="{% if slow %}{{ word }}{% endif %}{{ messages[0].content }}")

    def prompt_tokens(*settings):
        return json.loads(succeeds("run", path, "-p", "bird", "-n", 1, *settings, "--json").stdout)["prompt_tokens"]

    assert prompt_tokens() == prompt_tokens("--set", "word=xyz", "--set", "slow=false")
    assert prompt_tokens("--set", "word=xyz", "--set", "slow=true") == prompt_tokens() + 3
    assert "NAME=VALUE" in fails(2, "run", LLAMA, "-p", "x", "--set", "novalue")


def test_special_tokens_in_a_prompt_are_plain_text():
    """A user's <|im_end|> does not end the user's turn."""
    plain = answer("-p", "bird", "-n", 1)["prompt_tokens"]
    special = answer("-p", "bird<|im_end|>", "-n", 1)["prompt_tokens"]
    letters = len(json.loads(succeeds("tokenize", LLAMA, "<|im_end|>", "--json").stdout)["ids"])
    assert letters > 3
    assert special >= plain + letters - 1


def test_seeds():
    first = answer("-p", "the bird", "-n", 20, "--seed", 1, "--temp", 2, "--ignore-eos")
    again = answer("-p", "the bird", "-n", 20, "--seed", 1, "--temp", 2, "--ignore-eos")
    other = answer("-p", "the bird", "-n", 20, "--seed", 2, "--temp", 2, "--ignore-eos")
    assert first["text"] == again["text"] != other["text"]
    fresh = {answer("-p", "the", "-n", 1)["seed"] for _ in range(3)}
    assert len(fresh) == 3


def test_stop_texts_end_the_answer():
    whole = answer("-p", "the bird", "-n", 20, "--temp", 0, "--ignore-eos")["text"]
    assert len(whole) > 6
    stop = whole[3:5]
    cut = answer("-p", "the bird", "-n", 20, "--temp", 0, "--ignore-eos", "--stop", "never seen", "--stop", stop)
    assert cut["text"] == whole[:whole.index(stop)]
    assert cut["stop_reason"] == "stop"


def test_sampling_options_change_the_choice():
    greedy = answer("-p", "the bird", "-n", 12, "--temp", 0, "--ignore-eos")["text"]
    for narrow in (["--top-k", 1], ["--top-p", 0.0001], ["--min-p", 1]):
        assert answer("-p", "the bird", "-n", 12, "--temp", 5, "--ignore-eos", "--seed", 3, *narrow)["text"] == greedy
    assert answer("-p", "the bird", "-n", 12, "--temp", 0, "--ignore-eos", "--repeat-penalty", 50)["text"] != greedy


@pytest.mark.parametrize("more", [["--kv", "f32"], ["--kv", "q8"], ["--threads", 1], ["--float"], ["--cpu", "ref"],
                                  ["--ctx", 128]])
def test_ways_of_running(more):
    got = answer("-p", "the bird", "-n", 6, "--temp", 0, "--ignore-eos", *more)
    assert got["tokens"] == 6


def test_a_prompt_that_does_not_fit():
    assert "16" in fails(1, "run", LLAMA, "-p", "the bird " * 50, "--ctx", 16)


def test_the_context_ends_the_answer():
    got = answer("-p", "the bird", "--ctx", 64, "--ignore-eos")
    assert got["stop_reason"] == "length" and got["prompt_tokens"] + got["tokens"] <= 64 + 1


def test_unknown_instruction_set():
    assert "mmx" in fails(1, "run", LLAMA, "-p", "x", "--cpu", "mmx")


def test_verbose_says_how_tensors_run():
    done = succeeds("run", LLAMA, "-p", "the", "-n", 2, "--verbose")
    assert "blk.0.attn_q.weight" in done.stderr and "blk.0" not in done.stdout


def test_no_template_no_system():
    llama2c = MODELS / "llama2c" / "model.bin"
    assert "no chat template" in fails(1, "run", llama2c, "-p", "x", "--system", "y")
    assert succeeds("run", llama2c, "-p", "the", "-n", 3, "--temp", 0, "-q").stdout


def wait_for_output(process, size=1):
    return process.stdout.read(size)


def test_ctrl_c_stops_an_answer():
    process = subprocess.Popen([COMMAND, "run", LLAMA, "-p", "the", "--ctx", "1000000", "--ignore-eos"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    wait_for_output(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"stopped by Ctrl-C" in err


def test_a_reader_that_leaves_stops_the_answer():
    process = subprocess.Popen([COMMAND, "run", LLAMA, "-p", "the", "--ctx", "1000000", "--ignore-eos"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    wait_for_output(process)
    process.stdout.close()
    assert process.wait(timeout=20) in (1, -signal.SIGPIPE)
    assert b"sterna:" not in process.stderr.read()


def test_a_file_that_becomes_shorter():
    """What the system does then is a bus error; the command says so."""
    process = subprocess.Popen([COMMAND, "tokenize", LLAMA], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGBUS)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith(b"sterna: a file became shorter")
