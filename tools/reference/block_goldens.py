#!/usr/bin/env python3
"""Writes tests/data/blocks.bin: rows of every tensor type with the floats they stand for.

Run by developers: needs numpy, gguf and, for BitNet's packed linear, torch and transformers. Types
that the gguf package knows are decoded by it; the others by the few lines below, one element at a
time, straight from their definition. Scales include float16's extremes and non-numbers.

Records, little-endian: name (16 bytes, zero-padded), cols, rows, I2_S order, bytes (uint32 each),
scale (float32), the bytes, then float32[rows][cols]. A name that starts with "+" is a check of the
encoder: the bytes are what gguf-py makes of the floats.
"""
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as G, GGML_QUANT_SIZES

rng = np.random.default_rng(20261122)
EXTREME = np.array([0x7BFF, 0xFBFF, 0x0001, 0x8001, 0x03FF, 0x0400, 0x0000, 0x8000], np.uint16)
WILD = np.array([0x7C00, 0xFC00, 0x7E00, 0x7BFF], np.uint16)
ROWS = 3  # ordinary scales, extreme finite scales, any bytes at all (infinite and NaN scales too)


def half(block, at):
    return float(np.frombuffer(block[at:at + 2].tobytes(), "<f2")[0])


def with_scales(blocks, offsets):
    """Random bytes -> blocks whose float16 fields are tame in row 0, extreme in row 1."""
    for row, choice in ((0, None), (1, EXTREME), (2, WILD)):
        n = blocks.shape[1]
        for at in offsets:
            if choice is None:
                values = rng.uniform(-0.1, 0.1, n).astype(np.float16).view(np.uint16)
            else:
                values = rng.choice(choice, n)
            blocks[row, :, at:at + 2] = values.astype("<u2").view(np.uint8).reshape(n, 2)
    return blocks


def q2_element(block, j, base):
    return ((int(block[base + j // 4]) >> 2 * (j % 4)) & 3) - 1


def ptq1_element(block, j):
    power = (1, 3, 9, 27, 81)
    if j < 80:
        byte, n = block[j % 16], j // 16
    elif j < 120:
        byte, n = block[16 + (j - 80) % 8], (j - 80) // 8
    else:
        byte, n = block[24 + (j - 120) % 2], (j - 120) // 2
    return ((int(byte) * power[n] & 255) * 3 >> 8) - 1


OWN = {  # name: (block, bytes, offset of the scale, element)
    "Q1_0": (128, 18, 0, lambda b, j: (int(b[2 + j // 8]) >> j % 8 & 1) * 2 - 1),
    "Q2_0": (64, 18, 0, lambda b, j: q2_element(b, j, 2)),
    "Q2_0_G128": (128, 34, 0, lambda b, j: q2_element(b, j, 2)),
    "PQ2_0": (128, 34, 0, lambda b, j: q2_element(b, j, 2)),
    "PTQ1_0": (128, 28, 26, ptq1_element),
}


def own_type(name):
    block, size, at, element = OWN[name]
    blocks = with_scales(rng.integers(0, 256, (ROWS, 128 // block, size), np.uint8), [at])
    with np.errstate(invalid="ignore", over="ignore"):
        values = [[np.float32(element(b, j)) * np.float32(half(b, at)) for b in row for j in range(block)]
                  for row in blocks]
    return 128, blocks.tobytes(), np.array(values, np.float32)


def ggml_type(name, offsets):
    block, size = GGML_QUANT_SIZES[G[name]]
    cols = max(block, 128)
    blocks = with_scales(rng.integers(0, 256, (ROWS, cols // block, size), np.uint8), offsets)
    with np.errstate(invalid="ignore", over="ignore"):
        values = gguf.quants.dequantize(blocks.reshape(ROWS, -1), G[name])
    return cols, blocks.tobytes(), values.astype(np.float32)


def i2s(order):
    cols, rows, scale = 256, 8, np.float32(0.03125017)
    trits = rng.integers(-1, 2, (rows, cols))
    data = np.zeros(rows * cols // 4, np.uint8)
    for r in range(rows):
        for c in range(cols):
            if order == 1:
                byte, shift = r // 4 * cols + c, 6 - 2 * (r % 4)
            else:
                width = 32 if order == 0 else 16
                inside = c % (4 * width)
                byte = (r * cols + c // (4 * width) * 4 * width) // 4 + inside % width
                shift = 6 - 2 * (inside // width)
            data[byte] |= (trits[r, c] + 1) << shift
    tail = struct.pack("<f28x", scale)
    return cols, rows, data.tobytes() + tail, trits.astype(np.float32) * scale


def bitnet():
    import torch
    from transformers.integrations.bitnet import pack_weights, unpack_weights
    torch._dynamo.config.disable = True
    cols, rows, scale = 96, 12, np.float32(0.7)
    trits = torch.from_numpy(rng.integers(-1, 2, (rows, cols)).astype(np.int8))
    packed = pack_weights(trits.clone())
    values = unpack_weights(packed, torch.float32).numpy()
    assert (values == trits.numpy()).all()
    return cols, rows, packed.numpy().tobytes(), scale, values * scale


def record(name, cols, rows, order, scale, first, second, size):
    return struct.pack("<16s4If", name.encode(), cols, rows, order, size, scale) + first + second


def main():
    out = []
    floats = rng.normal(0, 0.1, (ROWS, 64)).astype(np.float32)
    floats[1, :8] = [0, -0.0, 1e-7, -6e-8, 65504, -65520, np.inf, 3e-5]
    floats[2, :2] = [np.nan, -np.inf]
    with np.errstate(over="ignore", invalid="ignore"):
        for name, data in (("F32", floats), ("F64", floats.astype(np.float64) * 1.0000001)):
            out.append(record(name, 64, ROWS, 0, 0, data.tobytes(), data.astype(np.float32).tobytes(), data.nbytes))
        data = floats.astype(np.float16)
        out.append(record("F16", 64, ROWS, 0, 0, data.tobytes(), data.astype(np.float32).tobytes(), data.nbytes))
        data = gguf.quants.quantize(floats, G.BF16)
        out.append(record("BF16", 64, ROWS, 0, 0, data.tobytes(),
                          gguf.quants.dequantize(data, G.BF16).tobytes(), data.nbytes))
    for name, offsets in (("Q8_0", [0]), ("Q4_0", [0]), ("Q4_1", [0, 2]), ("Q5_0", [0]), ("Q5_1", [0, 2]),
                          ("Q2_K", [80, 82]), ("Q3_K", [108]), ("Q4_K", [0, 2]), ("Q5_K", [0, 2]),
                          ("Q6_K", [208]), ("TQ1_0", [52]), ("TQ2_0", [64])):
        cols, data, values = ggml_type(name, offsets)
        out.append(record(name, cols, ROWS, 0, 0, data, values.tobytes(), len(data)))
    for name in OWN:
        cols, data, values = own_type(name)
        out.append(record(name, cols, ROWS, 0, 0, data, values.tobytes(), len(data)))
    for order in range(3):
        cols, rows, data, values = i2s(order)
        out.append(record("I2_S", cols, rows, order, 0, data, values.astype(np.float32).tobytes(), len(data)))
    cols, rows, data, scale, values = bitnet()
    out.append(record("BITNET", cols, rows, 0, scale, data, values.astype(np.float32).tobytes(), len(data)))

    # what gguf-py writes for the same floats: an encoder must give the same bytes
    x = rng.normal(0, 0.05, (4, 96)).astype(np.float32)
    x[1] *= np.repeat(np.float32([1e6, 1e-6, 0]), 32)
    x[2, :32] = np.arange(32) - 15.5  # many halves
    x[3] = np.round(x[3] * 2540) / 2 * np.float32(127)
    for name in ("Q8_0", "BF16"):
        data = gguf.quants.quantize(x, G[name])
        out.append(record("+" + name, 96, 4, 0, 0, data.tobytes(), x.tobytes(), data.nbytes))
    with np.errstate(over="ignore"):
        data = x.astype(np.float16)
    out.append(record("+F16", 96, 4, 0, 0, data.tobytes(), x.tobytes(), data.nbytes))
    trits = rng.integers(-1, 2, (2, 512)).astype(np.float32)
    trits[1] *= np.repeat(np.float16([0.0371, 6e-8]).astype(np.float32), 256)
    for name in ("TQ1_0", "TQ2_0"):
        data = gguf.quants.quantize(trits, G[name])
        out.append(record("+" + name, 512, 2, 0, 0, data.tobytes(), trits.tobytes(), data.nbytes))

    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "tests/data/blocks.bin")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(out))
    print(f"{target}: {len(out)} records, {target.stat().st_size} bytes")


main()
