"""The interactive chat, driven through a pseudo-terminal as a person would."""
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, MODELS, fails

LLAMA = MODELS / "llama" / "model.gguf"
PROMPT = "> "


class Chat:
    """`sterna run` with its three standard streams on one terminal."""

    def __init__(self, *args, history=""):
        self.terminal, other = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "OMP_WAIT_POLICY": "passive",
                       "STERNA_HISTORY": str(history)}
        self.process = subprocess.Popen([COMMAND, "run", *map(str, args)], stdin=other, stdout=other, stderr=other,
                                        env=environment, start_new_session=True, close_fds=True,
                                        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0))
        os.close(other)
        self.seen = ""

    def read_until(self, pattern, timeout=30):
        """The screen's text up to and with the pattern; it is consumed."""
        end = time.monotonic() + timeout
        while True:
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\x07]", "", self.seen)
            found = re.search(pattern, text)
            if found:
                self.seen = text[found.end():]
                return text[:found.end()]
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {pattern!r} in {text!r}"
            try:
                more = os.read(self.terminal, 4096)
            except OSError:
                more = b""
            assert more, f"the end, without {pattern!r}: {text!r}"
            self.seen += more.decode(errors="replace")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def say(self, line):
        self.type(line + "\n")

    def leave(self):
        """Ctrl-D; again where it came before the line editor had the terminal, which then loses it."""
        for _ in range(10):
            self.type("\x04")
            try:
                return self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                pass
        return None

    def ends(self):
        """The exit status; what is left on the screen is dropped."""
        while select.select([self.terminal], [], [], 30)[0]:
            try:
                if not os.read(self.terminal, 4096):
                    break
            except OSError:
                break
        return self.process.wait(timeout=5)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def chat():
    chats = []

    def start(*args, **more):
        chats.append(Chat(*args, **more))
        return chats[-1]

    yield start
    for one in chats:
        one.close()


SHORT = (LLAMA, "-n", 6, "--temp", 0, "--ignore-eos")


def tokens_of(summary):
    found = re.search(r"\[prompt (\d+) tokens, .*answer (\d+) tokens", summary)
    return int(found[1]), int(found[2])


def test_a_conversation(chat):
    c = chat(*SHORT)
    assert "/help" in c.read_until(PROMPT)
    c.say("they summ")
    first = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    assert first[1] == 6
    c.read_until(PROMPT)
    c.say("and bird")
    second = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    assert second[0] > first[0] + 6, "the conversation goes on"
    c.read_until(PROMPT)
    c.say("/reset")
    c.read_until("forgotten")
    c.read_until(PROMPT)
    c.say("they summ")
    assert tokens_of(c.read_until(r"\[prompt [^\]]*\]")) == first
    c.read_until(PROMPT)
    c.say("/quit")
    assert c.ends() == 0


def test_the_answer_of_a_new_conversation_is_the_same_after_reset(chat):
    """What the session still holds of the old one does not leak into the new one."""
    c = chat(*SHORT)
    c.read_until(PROMPT)
    answers = []
    for line in ["they summ", "the bird", "/reset", "they summ"]:
        c.say(line)
        # the terminal itself may echo the line once more while the editor starts
        answers.append(c.read_until("forgotten" if line == "/reset" else r"\[prompt ").split(line + "\n")[-1])
        c.read_until(PROMPT)
    assert answers[0] == answers[3]


def test_system_prompt(chat):
    c = chat(*SHORT)
    c.read_until(PROMPT)
    c.say("/system")
    c.read_until("no system prompt")
    c.read_until(PROMPT)
    c.say("they")
    without, _ = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    c.read_until(PROMPT)
    c.say("/system bird land bird land bird land")
    c.read_until("starts over")
    c.read_until(PROMPT)
    c.say("they")
    with_system, _ = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    assert with_system > without + 6
    c.read_until(PROMPT)
    c.say("/system")
    c.read_until("bird land bird land")


def test_help_and_unknown_commands(chat):
    c = chat(*SHORT)
    c.read_until(PROMPT)
    c.say("/help")
    assert "/reset" in c.read_until("Ctrl-C stops an answer")
    c.read_until(PROMPT)
    c.say("/resett")
    c.read_until("no such command")
    c.read_until(PROMPT)
    c.say("")
    c.read_until(PROMPT)
    c.say("   ")
    c.read_until(PROMPT)
    assert c.leave() == 0


def test_a_backslash_continues_the_line(chat):
    c = chat(*SHORT)
    c.read_until(PROMPT)
    c.say("they\\")
    c.read_until(r"\. ")
    c.say("bird")
    both, _ = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    c.read_until(PROMPT)
    c.say("/reset")
    c.read_until(PROMPT)
    c.say("they")
    one, _ = tokens_of(c.read_until(r"\[prompt [^\]]*\]"))
    assert both > one


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(chat):
    c = chat(LLAMA, "--temp", 0, "--ignore-eos", "--ctx", 1000000)
    c.read_until(PROMPT)
    c.say("they")
    time.sleep(0.5)
    c.type("\x03")
    c.read_until("stopped by Ctrl-C")
    c.read_until(PROMPT)
    c.say("/reset")
    c.read_until(PROMPT)
    c.type("half a line\x03")
    c.read_until("Ctrl-C again")
    c.read_until(PROMPT)
    c.type("\x03")
    assert c.ends() == 0


def test_a_conversation_that_becomes_too_long(chat):
    c = chat(LLAMA, "-n", 4, "--ctx", 48, "--ignore-eos")
    c.read_until(PROMPT)
    c.say("bird " * 60)
    c.read_until("sterna: ")
    c.read_until("/reset starts a new one")
    c.read_until(PROMPT)
    c.say("bird")
    c.read_until(r"\[prompt ")


def test_history_is_kept_for_the_next_chat(chat, tmp_path):
    history = tmp_path / "new folder" / "history"
    c = chat(*SHORT, history=history)
    c.read_until(PROMPT)
    c.say("they ürn")
    c.read_until(r"\[prompt ")
    c.read_until(PROMPT)
    assert c.leave() == 0
    assert history.stat().st_mode & 0o077 == 0
    c = chat(*SHORT, history=history)
    c.read_until(PROMPT)
    c.type("\x1b[A")
    c.read_until("they ürn")


def test_a_model_without_template_continues_the_text(chat):
    c = chat(MODELS / "llama2c" / "model.bin", "-n", 5, "--temp", 0)
    c.read_until("no chat template")
    c.read_until(PROMPT)
    c.say("they")
    c.read_until(r"\[prompt ")
    c.read_until(PROMPT)
    c.say("/system x")
    c.read_until("no place for a system prompt")


def test_control_characters_of_an_answer_do_not_reach_the_terminal(chat):
    """The model's vocabulary holds every byte; on a terminal none may act."""
    c = chat(LLAMA, "-n", 300, "--temp", 100, "--seed", 1, "--ignore-eos", "--top-k", 0, "--top-p", 1, "--min-p", 0)
    c.read_until(PROMPT)
    c.say("they")
    raw = ""
    while "[prompt" not in raw:
        raw += os.read(c.terminal, 4096).decode(errors="replace")
    body = raw.split("they", 1)[1].split("[prompt")[0]
    assert "\ufffd" in body
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]", body)


def test_json_needs_a_prompt():
    terminal, other = pty.openpty()
    assert "--json needs a prompt" in fails(2, "run", LLAMA, "--json", stdin=other)
    os.close(terminal)
    os.close(other)


def test_the_terminal_that_goes_away_ends_the_chat(chat):
    c = chat(*SHORT)
    c.read_until(PROMPT)
    c.process.send_signal(signal.SIGHUP)
    assert c.ends() in (0, -signal.SIGHUP)
