"""Help texts, the manual page and the completions all say the same."""
import re
import shutil
import subprocess

import pytest
from conftest import run, succeeds

COMMANDS = ["run", "eval", "bench", "inspect", "tokenize", "template", "convert", "quantize", "verify", "completion",
            "help"]


def options_of(command):
    """{long name: letter or None} as the help lists them."""
    text = succeeds(command, "--help").stdout
    return {name: letter or None for letter, name in re.findall(r"^ +(?:-(\w), )?--([a-z0-9-]+)", text, re.M)}


def test_program_help_lists_every_command():
    text = succeeds("--help").stdout
    listed = re.findall(r"^  ([a-z]+) {2,}\S", text.split("Commands:")[1].split("\n\n")[0], re.M)
    assert listed == COMMANDS
    assert succeeds("help").stdout == text
    assert run().stdout == text and run().returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help(command):
    text = succeeds(command, "--help").stdout
    assert text == succeeds(command, "-h").stdout == succeeds("help", command).stdout
    assert text.startswith(f"sterna {command}: ")
    assert f"Usage: sterna {command}" in text
    assert "\nExamples:\n  sterna " in text or "\nExamples:\n  source <(sterna " in text
    assert all(len(line) <= 80 or line.startswith("  ") for line in text.splitlines())
    assert "help" in options_of(command)


def test_options_of_the_specification():
    expected = {
        "run": "prompt file system raw temp top-k top-p min-p repeat-penalty seed stop n-predict ctx threads cpu json kv "
               "float ignore-eos quiet",
        "eval": "text context stride limit bytes kl-against tasks json",
        "bench": "prefill context batch tokens repeat shape type head json threads cpu kv",
        "inspect": "json",
        "tokenize": "file decode special bos json",
        "template": "messages tools set no-generation-prompt",
        "quantize": "method type group keep keep-type asymmetric portable recipe outliers bits calib tokens drift "
                    "residual damping stages tune eval no-eval no-receipt resume json",
        "convert": "type json",
        "verify": "json",
    }
    for command, names in expected.items():
        assert set(names.split()) <= set(options_of(command)), command


def test_version():
    assert re.fullmatch(r"sterna \d+\.\d+\.\d+\n", succeeds("--version").stdout)


def test_manual_has_every_option():
    page = succeeds("help", "--man").stdout
    sections = {part.split('"')[0]: part for part in page.split('.SS "sterna ')[1:]}
    assert list(sections) == COMMANDS
    for command in COMMANDS:
        for name in set(options_of(command)) - {"help"}:
            assert r"\fB\-\-" + name.replace("-", r"\-") + r"\fR" in sections[command], (command, name)


def test_manual_is_well_formed():
    man = shutil.which("man")
    if not man:
        pytest.skip("man is not installed")
    page = succeeds("help", "--man").stdout
    done = subprocess.run([man, "--warnings", "-E", "UTF-8", "-l", "-"], input=page, text=True, capture_output=True,
                          env={"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MAN_KEEP_FORMATTING": ""})
    assert done.returncode == 0 and done.stderr == ""
    assert "sterna run [MODEL] [options]" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_accepted_by_their_shell(shell, tmp_path):
    script = tmp_path / "completion"
    script.write_text(succeeds("completion", shell).stdout)
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_and_fish_completions_have_every_option():
    zsh, fish = succeeds("completion", "zsh").stdout, succeeds("completion", "fish").stdout
    for command in COMMANDS:
        part = zsh.split(f"    {command})\n")[1].split(";;")[0]
        for name, letter in options_of(command).items():
            assert re.search(rf"--{name}[=\[')}}]", part), (command, name)
            if name != "help":
                end = f" -s {letter} " if letter else " "
                assert f"__fish_seen_subcommand_from {command}' -l {name}{end}" in fish, (command, name)


def complete(*words):
    """What bash offers for the last word."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    line = " ".join("'" + word + "'" for word in words)
    script = succeeds("completion", "bash").stdout + f"""
COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
_sterna
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_commands_options_and_choices():
    assert set(COMMANDS) <= set(complete("sterna", ""))
    assert complete("sterna", "tok") == ["tokenize"]
    assert complete("sterna", "help", "be") == ["bench"]
    assert complete("sterna", "completion", "f") == ["fish"]
    assert complete("sterna", "run", "--kv", "") == ["f16", "f32", "q8"]
    for command in COMMANDS:
        assert set(complete("sterna", command, "-")) == {"--" + name for name in options_of(command)}
    assert complete("sterna", "run", "--temp", "") == []


def test_bash_completes_files(tmp_path, monkeypatch):
    (tmp_path / "my model.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert complete("sterna", "run", "my") == ["my", "model.gguf"]
    assert complete("sterna", "eval", "x", "--text", "my") == ["my", "model.gguf"]
