"""Writes a model that is wide enough for every ternary layout: layers of 256 x 256 and 256 x 512 matrices in F16,
random but always the same, with the vocabulary and template of another GGUF file. Standard library only."""
import random
import struct

UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
F32, F16 = 0, 1
ALIGNMENT = 32
WIDTH, FFN, HEADS, KV_HEADS, CONTEXT = 256, 512, 4, 2, 512


def _value_end(data, at, kind):
    if kind == STRING:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind == ARRAY:
        element, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if element in SIZES:
            return at + count * SIZES[element]
        for _ in range(count):
            at = _value_end(data, at, element)
        return at
    return at + SIZES[kind]


def _tokenizer_entries(data, skip):
    """The encoded key-value pairs of a GGUF whose keys begin with "tokenizer.", and the number of tokens."""
    count = struct.unpack_from("<Q", data, 16)[0]
    at, entries, tokens = 24, [], 0
    for _ in range(count):
        start = at
        size = struct.unpack_from("<Q", data, at)[0]
        key = data[at + 8:at + 8 + size].decode()
        at += 8 + size
        kind = struct.unpack_from("<I", data, at)[0]
        if key == "tokenizer.ggml.tokens":
            tokens = struct.unpack_from("<Q", data, at + 8)[0]
        at = _value_end(data, at + 4, kind)
        if key.startswith("tokenizer.") and key != skip:
            entries.append(data[start:at])
    return entries, tokens


def _text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _entry(key, value):
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", STRING) + _text(value)
    if isinstance(value, float):
        return _text(key) + struct.pack("<If", FLOAT32, value)
    return _text(key) + struct.pack("<II", UINT32, value)


def _halves(rng, count):
    """`count` F16 numbers of random sign with magnitudes from 2^-6 to 2^-4."""
    small = bytes((byte & 0x80) | (0x24 + (byte & 7)) for byte in range(256))
    data = bytearray(rng.randbytes(2 * count))
    data[1::2] = bytes(data[1::2]).translate(small)
    return bytes(data)


def _shapes(layers, tokens):
    head = WIDTH // HEADS
    shapes = {"token_embd.weight": (WIDTH, tokens), "output.weight": (WIDTH, tokens), "output_norm.weight": (WIDTH,)}
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in {
            "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, head * KV_HEADS),
            "attn_v": (WIDTH, head * KV_HEADS), "attn_output": (WIDTH, WIDTH), "ffn_gate": (WIDTH, FFN),
            "ffn_up": (WIDTH, FFN), "ffn_down": (FFN, WIDTH)}.items()}
    return shapes


def _make_massive(name, values, columns, token):
    """A column of the embeddings is lit by one token alone, and a neuron of the feed-forward network by that column."""
    values = bytearray(values)
    if name == "token_embd.weight":
        values[0::2 * columns] = values[1::2 * columns] = bytes(len(values) // (2 * columns))
        values[2 * columns * token:2 * columns * token + 2] = struct.pack("<e", 8)
    if "ffn_gate" in name or "ffn_up" in name:
        values[:2 * columns] = struct.pack("<e", 2) + bytes(2 * columns - 2)
    return bytes(values)


def write(path, vocabulary_of, template=None, layers=1, drop=None, damage=None, massive=None):
    """`template` takes the place of the chat template. The tensor `drop` is left out; the first weight of row 1 of the
    tensor `damage` is NaN. The token `massive` gets activations hundreds of times those of the others."""
    entries, tokens = _tokenizer_entries(vocabulary_of.read_bytes(), skip=template and "tokenizer.chat_template")
    if template:
        entries.append(_entry("tokenizer.chat_template", template))
    entries += [_entry("general.architecture", "llama"), _entry("llama.block_count", layers),
                _entry("llama.context_length", CONTEXT), _entry("llama.embedding_length", WIDTH),
                _entry("llama.feed_forward_length", FFN), _entry("llama.attention.head_count", HEADS),
                _entry("llama.attention.head_count_kv", KV_HEADS), _entry("llama.vocab_size", tokens),
                _entry("llama.attention.layer_norm_rms_epsilon", 1e-5), _entry("llama.rope.freq_base", 10000.0)]
    shapes = _shapes(layers, tokens)
    shapes.pop(drop, None)
    rng = random.Random(2)
    directory, data = b"", b""
    for name, shape in shapes.items():
        kind = F32 if len(shape) == 1 else F16
        directory += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        values = struct.pack("<f", 1.0) * shape[0] if kind == F32 else _halves(rng, shape[0] * shape[1])
        if name == damage:
            values = values[:2 * shape[0]] + b"\x00\x7e" + values[2 * shape[0] + 2:]
        if massive is not None and kind == F16:
            values = _make_massive(name, values, shape[0], massive)
        data += values
        data += bytes(-len(data) % ALIGNMENT)
    head_bytes = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(entries)) + b"".join(entries) + directory
    path.write_bytes(head_bytes + bytes(-len(head_bytes) % ALIGNMENT) + data)
