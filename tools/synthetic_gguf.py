#!/usr/bin/env python3
"""Writes a GGUF file of a known shape with random ternary weights: synthetic_gguf.py SHAPE TYPE OUT [options]

What `sterna bench --shape SHAPE` makes in memory, for engines that want a file; the sizes are those that
`sterna bench --shape list` tells. TYPE: TQ2_0, TQ1_0, Q2_0 (groups of 64), I2_S (x86 order), or TL2, bitnet.cpp's
table layout, whose codes are random bytes: fit to measure speed and for nothing else (Sterna does not read it).
The tokenizer has the bytes and the names "<t259>", "<t260>", ...: it loads everywhere and says nothing.

Rows repeat after 64: speed depends on sizes, not on values. Standard library only. The same arguments give the same
file.
"""
import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys

UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
ALIGNMENT = 32
TILE = 64  # rows that differ
IDS = {"F32": 0, "F16": 1, "Q8_0": 8, "Q6_K": 14, "TQ1_0": 34, "TQ2_0": 35, "I2_S": 36, "TL2": 39, "Q2_0": 42}

# A random byte to one that holds only trits: four codes of two bits, five base-3 digits, four of them.
FOUR_CODES = bytes(n % 3 | n // 3 % 3 << 2 | n // 9 % 3 << 4 | n // 27 % 3 << 6 for n in range(256))
FIVE_DIGITS = bytes((n % 243 * 256 + 242) // 243 for n in range(256))
FOUR_DIGITS = bytes((n % 81 * 3 * 256 + 242) // 243 for n in range(256))
# The high byte of a float16 to one of any sign with a magnitude from 2^-7 to 2^-5.
SMALL = bytes((n & 0x80) | (0x20 + (n & 7)) for n in range(256))


def blocks(rng, count, parts):
    """`count` blocks, each the parts behind each other: (bytes, table of bytes.translate or constant bytes)."""
    columns = [made if isinstance(made, tuple) else rng.randbytes(size * count).translate(made) for size, made in parts]
    out = bytearray()
    for i in range(count):
        for (size, _), column in zip(parts, columns):
            out += column[0] if isinstance(column, tuple) else column[i * size:(i + 1) * size]
    return bytes(out)


def row_maker(kind, cols):
    """Columns of a block and what it consists of."""
    scale = (struct.pack("<e", cols ** -0.5),)
    return {
        "TQ2_0": (256, [(64, FOUR_CODES), (2, scale)]),
        "TQ1_0": (256, [(48, FIVE_DIGITS), (4, FOUR_DIGITS), (2, scale)]),
        "Q2_0": (64, [(2, scale), (16, FOUR_CODES)]),
        "Q8_0": (32, [(2, (struct.pack("<e", cols ** -0.5 / 127),)), (32, None)]),
        "Q6_K": (256, [(208, None), (2, (struct.pack("<e", cols ** -0.5 / 1024),))]),
    }[kind]


def matrix(rng, kind, cols, rows):
    """The bytes of a tensor, as pieces that follow each other."""
    if kind == "I2_S":
        yield from repeat(rng.randbytes(TILE * cols // 4).translate(FOUR_CODES), rows, cols // 4)
        yield struct.pack("<f28x", cols ** -0.5)
    elif kind == "TL2":  # 5/3 bits a weight, but 2 of the last 256 of a row; a scale behind a multiple of 32 bytes
        size = (cols - 256) * rows // 3 * 5 // 8 + 256 * rows // 2 * 4 // 8
        yield from repeat(rng.randbytes(TILE * 64), -(-size // 32), 32)
        yield struct.pack("<f28x", cols ** -0.5)
    elif kind in ("F16", "F32"):
        tile = bytearray(rng.randbytes(TILE * cols * 2))
        tile[1::2] = bytes(tile[1::2]).translate(SMALL)
        if kind == "F32":
            tile = struct.pack(f"<{TILE * cols}f", *struct.unpack(f"<{TILE * cols}e", tile))
        yield from repeat(bytes(tile), rows, len(tile) // TILE)
    else:
        block, parts = row_maker(kind, cols)
        if cols % block:
            raise SystemExit(f"synthetic_gguf: rows of {cols} weights are no multiple of {kind}'s block of {block}")
        tile = blocks(rng, TILE * cols // block, parts)
        yield from repeat(tile, rows, len(tile) // TILE)


def repeat(tile, rows, row_bytes):
    per = len(tile) // row_bytes
    for _ in range(rows // per):
        yield tile
    yield tile[:rows % per * row_bytes]


def vector(size):
    yield struct.pack("<f", 1.0) * size


def tensor_bytes(kind, cols, rows):
    if kind == "I2_S":
        return cols * rows // 4 + 32
    if kind == "TL2":
        return -(-((cols - 256) * rows // 3 * 5 // 8 + 256 * rows // 2 * 4 // 8) // 32) * 32 + 32
    if kind in ("F16", "F32"):
        return cols * rows * (2 if kind == "F16" else 4)
    block, parts = row_maker(kind, cols)
    return cols // block * sum(size for size, _ in parts) * rows


def tensors(shape, kind, head):
    """(name, type, cols, rows) in the order of the file; rows 0: a vector."""
    width, ffn, dim = shape["width"], shape["ffn"], shape["head_dim"]
    q, kv = shape["heads"] * dim, shape["kv_heads"] * dim
    out = [("token_embd", head, width, shape["vocabulary"])]
    if not shape["tied"]:
        out.append(("output", head, width, shape["vocabulary"]))
    out.append(("output_norm", "F32", width, 0))
    norms = [("attn_norm", width), ("ffn_norm", width)]
    if shape["family"] == "qwen3":
        norms += [("attn_q_norm", dim), ("attn_k_norm", dim)]
    if shape["family"].startswith("bitnet"):
        norms += [("attn_sub_norm", q), ("ffn_sub_norm", ffn)]
    matrices = [("attn_q", width, q), ("attn_k", width, kv), ("attn_v", width, kv), ("attn_output", q, width),
                ("ffn_gate", width, ffn), ("ffn_up", width, ffn), ("ffn_down", ffn, width)]
    for layer in range(shape["layers"]):
        out += [(f"blk.{layer}.{name}", "F32", size, 0) for name, size in norms]
        out += [(f"blk.{layer}.{name}", kind, cols, rows) for name, cols, rows in matrices]
    return [(f"{name}.weight", *rest) for name, *rest in out]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    if isinstance(value, bool):
        return text(key) + struct.pack("<I?", BOOL, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", FLOAT32, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", UINT32, value)
    kind, form = {str: (STRING, None), float: (FLOAT32, "f"), int: (INT32, "i")}[type(value[0])]
    data = b"".join(map(text, value)) if form is None else struct.pack(f"<{len(value)}{form}", *value)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + data


def metadata(shape, architecture):
    model = {
        "block_count": shape["layers"], "context_length": shape["context"], "embedding_length": shape["width"],
        "feed_forward_length": shape["ffn"], "attention.head_count": shape["heads"],
        "attention.head_count_kv": shape["kv_heads"], "attention.key_length": shape["head_dim"],
        "attention.value_length": shape["head_dim"], "rope.dimension_count": shape["head_dim"],
        "rope.freq_base": float(shape["rope_base"]), "attention.layer_norm_rms_epsilon": 1e-5,
        "vocab_size": shape["vocabulary"]}
    count = shape["vocabulary"]
    tokens = (["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] +
              [f"<t{n}>" for n in range(259, count)])[:count]
    kinds = ([2, 3, 3] + [6] * 256 + [1] * (count - 259))[:count]
    return ([entry("general.architecture", architecture), entry("general.name", f"random {shape['name']}")] +
            [entry(f"{architecture}.{key}", value) for key, value in model.items()] +
            [entry("tokenizer.ggml.model", "llama"), entry("tokenizer.ggml.tokens", tokens),
             entry("tokenizer.ggml.scores", [0.0] * count), entry("tokenizer.ggml.token_type", kinds),
             entry("tokenizer.ggml.bos_token_id", 1), entry("tokenizer.ggml.eos_token_id", 2),
             entry("tokenizer.ggml.unknown_token_id", 0), entry("tokenizer.ggml.add_bos_token", False)])


def padding(size):
    return bytes(-size % ALIGNMENT)


def write(path, shape, kind, head, architecture):
    entries, directory, at = metadata(shape, architecture), b"", 0
    listed = tensors(shape, kind, head)
    for name, stored, cols, rows in listed:
        size = tensor_bytes(stored, cols, rows or 1)
        dims = struct.pack("<QQ", cols, rows) if rows else struct.pack("<Q", cols)
        directory += text(name) + struct.pack("<I", len(dims) // 8) + dims + struct.pack("<IQ", IDS[stored], at)
        at += size + len(padding(size))
    with open(path, "wb") as out:
        head_bytes = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(entries)) + b"".join(entries) + directory
        out.write(head_bytes + padding(len(head_bytes)))
        for name, stored, cols, rows in listed:
            rng = random.Random(f"{stored} {cols} {rows}")  # tensors of one type and size are equal
            start = out.tell()
            for piece in matrix(rng, stored, cols, rows) if rows else vector(cols):
                out.write(piece)
            size = out.tell() - start
            assert size == tensor_bytes(stored, cols, rows or 1), (name, size)
            out.write(padding(size))


def shapes(command):
    done = subprocess.run([command, "bench", "--shape", "list", "--json"], stdout=subprocess.PIPE, check=True)
    return {shape["name"]: shape for shape in json.loads(done.stdout)["shapes"]}


def main():
    build = pathlib.Path(__file__).resolve().parents[1] / "build" / "sterna"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", help="a name that `sterna bench --shape list` tells")
    parser.add_argument("type", type=str.upper, choices=["TQ2_0", "TQ1_0", "Q2_0", "I2_S", "TL2"])
    parser.add_argument("out")
    parser.add_argument("--head", type=str.upper, default="Q6_K", choices=["Q6_K", "Q8_0", "F16", "F32"],
                        help="type of embedding and head (default Q6_K)")
    parser.add_argument("--arch", help="architecture to write in place of the shape's own: other engines know "
                                       "'bitnet' where bitnet-2b4t is 'bitnet-b1.58'")
    parser.add_argument("--sterna", default=os.environ.get("STERNA", build), help="the command (default build/sterna)")
    args = parser.parse_args()
    known = shapes(args.sterna)
    if args.shape not in known:
        sys.exit(f"synthetic_gguf: shape '{args.shape}' is unknown; choose {', '.join(known)}")
    shape = known[args.shape]
    write(args.out, shape, args.type, args.head, args.arch or shape["family"])


if __name__ == "__main__":
    main()
