"""The vocabulary that every golden model shares: 320 tokens, byte-level BPE trained on our own text.

It knows no model. It writes the Hugging Face side files (tokenizer.json, tokenizer_config.json), gives
the GGUF metadata of the same vocabulary, and a llama2.c tokenizer.bin of as many entries.
"""
import json
import struct
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB = 320
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
BOS, EOS = 0, 1

# Written for this file.
TEXT = (
    "The tern is a small white bird of the open sea. In the morning the terns leave the island, and "
    "in the evening they return with fish for the young. They turn on the wind, they hang in the air "
    "for a moment, and then they fall like stones into the water. No bird travels farther: from the "
    "northern summer to the southern summer and back again, every year, it sees more daylight than "
    "any other animal on the earth. A keeper once counted the birds of one island. There were three "
    "hundred and twenty of them, and at night there was no place left to stand on the sand."
)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)


def build() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def ids(tokenizer: Tokenizer, count: int) -> list[int]:
    """The first `count` ids of our text, said again from the start when it is too short."""
    once = tokenizer.encode(TEXT).ids
    return (once * (count // len(once) + 1))[:count]


def write_hugging_face(tokenizer: Tokenizer, folder: Path) -> None:
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[EOS],
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def add_to_gguf(tokenizer: Tokenizer, writer) -> None:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token in SPECIAL else 1 for token, _ in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_llama2c(path: Path) -> None:
    """<unk>, <s>, </s>, the 256 bytes, then letters and pieces; a higher score merges first."""
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n"] + [b"<0x%02X>" % byte for byte in range(256)]
    letters = [chr(code).encode() for code in range(ord("a"), ord("z") + 1)]
    pieces += [b" ", b"T", b".", b","] + letters
    pieces += [b" t", b"he", b" the", b"er", b"in", b"an", b" s", b"on", b"at", b"th", b" a"]
    pieces += [b"en", b" is", b"re", b"nd", b" f", b" o", b"ar", b" w", b"ing", b" and"]
    pieces += [b" b%d" % number for number in range(VOCAB - len(pieces))]
    assert len(pieces) == VOCAB and len(set(pieces)) == VOCAB
    with path.open("wb") as out:
        out.write(struct.pack("<i", max(map(len, pieces))))
        for index, piece in enumerate(pieces):
            out.write(struct.pack("<fi", -float(max(0, index - 259)), len(piece)) + piece)
