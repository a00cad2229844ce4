#!/usr/bin/env python3
"""Writes tests/data/tokenizers/: small vocabularies trained on the text below, and the ids that the
reference libraries give for a list of texts. Run by developers (pip install tokenizers sentencepiece);
the output is committed.

Each NAME.json or NAME.model has a NAME.ids: one line a text of texts.json, ids separated by spaces.
"""
import io
import json
import random
import sys
from pathlib import Path

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

OUT = Path(__file__).resolve().parents[2] / "tests" / "data" / "tokenizers"
SPECIALS = ["<unk>", "<s>", "</s>"]
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXT = """The terns are seabirds of the family Sternidae, found near the sea, rivers and lakes on every continent.
A ternary weight is one of three numbers: minus one, zero or plus one. It doesn't need a multiplication.
They'll say we've packed 1,234,567 weights into 0.28 megabytes; that's 1.58 bits each, isn't it?
for (size_t i = 0; i < n; i++) sum += weight[i] > 0 ? x[i] : -x[i];  /* no multiply */
Die Küstenseeschwalbe fliegt jedes Jahr von der Arktis in die Antarktis und zurück, über 30 000 Kilometer.
La sterne arctique vit plus de trente ans; elle a été observée à l'île d'Ouessant. ¿Dónde está el charrán?
Полярная крачка пролетает десятки тысяч километров каждый год. 北极燕鸥每年飞行数万公里。 キョクアジサシは渡り鳥です。
북극제비갈매기 خرشنة قطبية שחפית ארקטית आर्कटिक टर्न นกนางนวลแกลบ 🐦🌊 👩‍🔬 ﬁ ½ ² Ⅷ ｆｕｌｌ
"""

TEXTS = [
    "", " ", "  ", "\n", "\t\n  \r\n", "Hello", " Hello", "Hello world!", "  two  spaces   here ",
    "I'm sure they'll've DON'T it'ſ", "1234567890 12,345.67 ½ ² Ⅷ ٣٤٥", "naïve café İstanbul ß ﬁ ｆｕｌｌ",
    "e\u0301 a\u0323\u0302 \u1e9b\u0323 \u1100\u1161\u11a8", "北极燕鸥。カタカナ、ひらがな 한국어", "Привет, мир! शब्द คำ",
    "👩\u200d🔬 🇩🇪 👍🏽 ❤️", "\u00a0\u2003\u3000\u2028x\u0085y\u200bz\ufeff", "a\x00b\x01c\x7f",
    "foo(bar) { return x[1]->y; } // ok\n\n\n    indent", "<s>user</s> <unk> <0x41> ▁x ##y",
    "<mask> foo  <tool>  foobar bar  foo", "ＡＢＣ ÉTÉ été", "the the The THE tHe", "....!!!???---___", "x" * 40,
]


def texts():
    """The list above and reproducible mixtures of its words with the training text's."""
    chosen = random.Random(42)
    words = [word for text in TEXTS + [TEXT] for word in text.split(" ")]
    blanks = [" ", " ", " ", "  ", "\n", "", "\t", " \n "]
    mixed = ["".join(chosen.choice(words) + chosen.choice(blanks) for _ in range(chosen.randint(2, 12)))
             for _ in range(60)]
    return TEXTS + TEXT.split("\n") + mixed


ADDED = [AddedToken("foo", single_word=True, normalized=False), AddedToken("<mask>", lstrip=True, special=True),
         AddedToken("<tool>", rstrip=True, normalized=False), AddedToken("bar", normalized=True)]


def lines():
    return TEXT.split("\n")


def bpe_trainer(size=420, **options):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS, show_progress=False, **options)


def byte_level(split, normalizer=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, bpe_trainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def regex(pattern, behaviour="isolated", invert=False):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behaviour, invert),
                                    pre_tokenizers.ByteLevel(False, use_regex=False)])


def bpe_kinds():
    split = pre_tokenizers
    yield "bytes-gpt2", *byte_level(split.ByteLevel(add_prefix_space=True), normalizers.NFC())
    yield "bytes-gpt4o", *byte_level(regex(GPT4O), ignore_merges=True)
    yield "bytes-classes", *byte_level(regex(r"[\p{L}&&[^\p{Han}]]+|[a[^\w\s]]|\h{2}|\b|\d{1,2}+"))
    yield "bytes-next", *byte_level(regex(r"\s|[aeiou]", "merged_with_next"))
    yield "bytes-previous", *byte_level(regex(r"\s|[aeiou]", "merged_with_previous", True))
    yield "bytes-contiguous", *byte_level(regex(r"\W", "contiguous"))
    yield "bytes-groups", *byte_level(regex(r"\d{1,3}(?=(?:\d{3})*\b)"))
    yield "bytes-falcon", *byte_level(split.Sequence([split.Punctuation("contiguous"), split.ByteLevel(False),
                                                      split.Digits(False)]))
    affix = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>",
                                 fuse_unk=True))
    affix.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    affix.pre_tokenizer = split.Whitespace()
    affix.decoder = decoders.BPEDecoder()
    yield "bpe-affix", affix, bpe_trainer(continuing_subword_prefix="##", end_of_word_suffix="</w>")
    llama = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    llama.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    llama.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    yield "bpe-llama", llama, trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIALS, show_progress=False, limit_alphabet=60, max_token_length=8,
        initial_alphabet=[])
    meta = Tokenizer(models.BPE(unk_token="<unk>"))
    meta.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFD(), normalizers.StripAccents()])
    meta.pre_tokenizer = split.Metaspace(prepend_scheme="first")
    meta.decoder = decoders.Metaspace(prepend_scheme="first")
    yield "bpe-metaspace", meta, bpe_trainer()


def with_byte_tokens(tokenizer):
    """Appends <0x00>..<0xFF> to a BPE or unigram vocabulary as ordinary tokens."""
    data = json.loads(tokenizer.to_str())
    vocab = data["model"]["vocab"]
    for byte in range(256):
        if isinstance(vocab, dict):
            vocab[f"<0x{byte:02X}>"] = len(vocab)
        else:
            vocab.append([f"<0x{byte:02X}>", -20.0])
    data["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(data))


def other_kinds():
    split = pre_tokenizers
    for name, lower, accents in (("wordpiece", True, None), ("wordpiece-cased", False, True)):
        word = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=30))
        word.normalizer = normalizers.BertNormalizer(True, True, accents, lower)
        word.pre_tokenizer = split.BertPreTokenizer()
        word.decoder = decoders.WordPiece()
        word.train_from_iterator(lines(), trainers.WordPieceTrainer(
            vocab_size=400, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
        word.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        yield name, word
    level = Tokenizer(models.WordLevel(unk_token="<unk>"))
    level.pre_tokenizer = split.Whitespace()
    level.train_from_iterator(lines(), trainers.WordLevelTrainer(vocab_size=300, special_tokens=SPECIALS,
                                                                 show_progress=False))
    yield "wordlevel", level
    for name, fallback in (("unigram", False), ("unigram-bytes", True)):
        uni = Tokenizer(models.Unigram())
        uni.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                               normalizers.Replace(Regex(" {2,}"), " ")])
        uni.pre_tokenizer = split.Metaspace()
        uni.decoder = decoders.Metaspace()
        uni.train_from_iterator(lines(), trainers.UnigramTrainer(
            vocab_size=350, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False))
        yield name, with_byte_tokens(uni) if fallback else uni


def write_ids(name, encode):
    rows = [" ".join(map(str, encode(text))) for text in texts()]
    (OUT / f"{name}.ids").write_text("\n".join(rows) + "\n")


def write_json(name, tokenizer):
    tokenizer.add_tokens([token for token in ADDED if not token.special])
    tokenizer.add_special_tokens([token for token in ADDED if token.special])
    data = json.loads(tokenizer.to_str())
    (OUT / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    # control tokens in the text stay text; unigram models of the library find them all the same,
    # so texts with such names are not compared for those
    tokenizer.encode_special_tokens = True
    write_ids(name, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def write_sentencepiece(name, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines() if line]), model_writer=out, minloglevel=2,
        hard_vocab_limit=False, **options)
    (OUT / f"{name}.model").write_bytes(out.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    write_ids(name, lambda text: model.encode(text.replace("\0", "")))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "texts.json").write_text(json.dumps(texts(), ensure_ascii=True, indent=0) + "\n")
    for name, tokenizer, trainer in bpe_kinds():
        tokenizer.train_from_iterator(lines(), trainer)
        write_json(name, with_byte_tokens(tokenizer) if name == "bpe-llama" else tokenizer)
    for name, tokenizer in other_kinds():
        write_json(name, tokenizer)
    write_sentencepiece("sp-bpe", model_type="bpe", vocab_size=700, byte_fallback=True,
                        normalization_rule_name="identity", remove_extra_whitespaces=False)
    write_sentencepiece("sp-unigram", model_type="unigram", vocab_size=420, add_dummy_prefix=True,
                        normalization_rule_name="identity", user_defined_symbols=["<tool>", "==="])
    sizes = {path.name: path.stat().st_size for path in OUT.iterdir()}
    print(sum(sizes.values()), "bytes; the largest:", sorted(sizes.items(), key=lambda item: -item[1])[:3])


if __name__ == "__main__":
    sys.exit(main())
