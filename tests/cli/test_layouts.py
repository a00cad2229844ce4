"""Every ternary layout against encoders and decoders written a second time, here, one element at a time from the
definitions in docs/FORMAT.md. Standard library and pytest only."""
import itertools
import json
import random
import struct

import pytest

from conftest import fails, succeeds

COLS, ROWS, NAME = 512, 8, "blk.0.ffn_up.weight"
POWERS = (1, 3, 9, 27, 81)


# ---- the layouts: where element j of a block is ----

def two_bits(byte_of, shift_of):
    def put(codes, size):
        out = bytearray(size)
        for j, code in enumerate(codes):
            out[byte_of(j)] |= code << shift_of(j)
        return bytes(out)

    def get(data, count):
        return [data[byte_of(j)] >> shift_of(j) & 3 for j in range(count)]
    return put, get


def base3(place):
    """place(j) = (byte, digit, digits in that byte)."""
    def put(codes, size):
        values = [[0] * 5 for _ in range(size)]
        for j, code in enumerate(codes):
            byte, digit, _ = place(j)
            values[byte][digit] = code
        return bytes((sum(d * 3 ** (4 - n) for n, d in enumerate(v)) * 256 + 242) // 243 for v in values)

    def get(data, count):
        return [(data[place(j)[0]] * POWERS[place(j)[1]] & 255) * 3 >> 8 for j in range(count)]
    return put, get


def base3_place(wide):
    narrow, last = wide // 2, wide // 8

    def place(j):
        if j < 5 * wide:
            return j % wide, j // wide, 5
        j -= 5 * wide
        if j < 5 * narrow:
            return wide + j % narrow, j // narrow, 5
        j -= 5 * narrow
        return wide + narrow + j % last, j // last, 4
    return place


NEIGHBOURS = two_bits(lambda j: j // 4, lambda j: j % 4 * 2)
LAYOUTS = {  # id, block, bytes of codes, scale first, (put, get)
    "TQ1_0": (34, 256, 52, False, base3(base3_place(32))),
    "TQ2_0": (35, 256, 64, False, two_bits(lambda j: j // 128 * 32 + j % 32, lambda j: j % 128 // 32 * 2)),
    "Q2_0": (42, 64, 16, True, NEIGHBOURS),
    "PQ2_0": (142, 128, 32, True, NEIGHBOURS),
    "PTQ1_0": (143, 128, 26, False, base3(base3_place(16))),
    "Q2_0 of old": (42, 128, 32, True, NEIGHBOURS),
}
WRITTEN = ["TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0"]


def encode(layout, trits, scale_of):
    """trits: rows of -1, 0, 1; scale_of(row, column)."""
    _, block, size, first, (put, _) = LAYOUTS[layout]
    out = b""
    for r, row in enumerate(trits):
        for at in range(0, len(row), block):
            codes, scale = put([t + 1 for t in row[at:at + block]], size), struct.pack("<e", scale_of(r, at))
            out += scale + codes if first else codes + scale
    return out


def decode(layout, data):
    _, block, size, first, (_, get) = LAYOUTS[layout]
    values = []
    for at in range(0, len(data), size + 2):
        part = data[at:at + size + 2]
        scale = struct.unpack("<e", part[:2] if first else part[-2:])[0]
        values += [(code - 1) * scale for code in get(part[2:] if first else part[:-2], block)]
    return values


# ---- containers ----

def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path, kind, data, rows=ROWS):
    """Two equal tensors: the distance between them tells the two Q2_0 apart."""
    pad = -len(data) % 32
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 1) + text("general.architecture") + struct.pack("<I", 8) + text("x")
    for i, name in enumerate((NAME, "blk.1.ffn_up.weight")):
        head += text(name) + struct.pack("<IQQIQ", 2, COLS, rows, kind, i * (len(data) + pad))
    path.write_bytes(head + bytes(-len(head) % 32) + (data + bytes(pad)) * 2)
    return path


def tensor_bytes(path, size):
    """The bytes of the first tensor of a GGUF file of two: the second ends the file."""
    whole = path.read_bytes()
    padded = size + -size % 32
    return whole[len(whole) - 2 * padded:][:size]


def read_safetensors(path):
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    entry = json.loads(whole[8:8 + size])[NAME]
    begin, end = entry["data_offsets"]
    form = {"F16": "e", "F32": "f"}[entry["dtype"]]
    data = whole[8 + size + begin:8 + size + end]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data))


def random_trits(rows=ROWS):
    rng = random.Random(len(LAYOUTS))
    return [[rng.choice((-1, 0, 1)) for _ in range(COLS)] for _ in range(rows)]


def scale_of(row, column):
    return struct.unpack("<e", struct.pack("<e", 0.01 * (row + 1) + 0.001 * (column // 256)))[0]


def values_of(trits):
    return [t * scale_of(r, c) for r, row in enumerate(trits) for c, t in enumerate(row)]


# ---- tests ----

@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads(layout, tmp_path):
    trits = random_trits()
    write_gguf(tmp_path / "in.gguf", LAYOUTS[layout][0], encode(layout, trits, scale_of))
    succeeds("convert", tmp_path / "in.gguf", tmp_path / "out.safetensors")
    assert read_safetensors(tmp_path / "out.safetensors") == values_of(trits)


@pytest.mark.parametrize("source, target", list(itertools.product(LAYOUTS, WRITTEN)))
def test_converts_exactly(source, target, tmp_path):
    trits = random_trits()
    path = write_gguf(tmp_path / "in.gguf", LAYOUTS[source][0], encode(source, trits, scale_of))
    succeeds("convert", path, tmp_path / "out.gguf", "--type", target)
    wanted = encode(target, trits, scale_of)
    written = tensor_bytes(tmp_path / "out.gguf", len(wanted))
    assert written == wanted
    assert decode(target, written) == values_of(trits)


@pytest.mark.parametrize("order", ["x86", "x86-rows4", "arm"])
def test_byte_orders_of_i2s(order, tmp_path):
    trits, scale = random_trits(), 0.03125
    data = bytearray(ROWS * COLS // 4)
    for r, c in itertools.product(range(ROWS), range(COLS)):
        width = {"x86": 32, "arm": 16}.get(order)
        if width:
            byte = (r * COLS + c) // (4 * width) * width + c % width
            shift = 6 - 2 * (c % (4 * width) // width)
        else:
            byte, shift = r // 4 * COLS + c, 6 - 2 * (r % 4)
        data[byte] |= (trits[r][c] + 1) << shift
    path = write_gguf(tmp_path / "in.gguf", 36, bytes(data) + struct.pack("<f28x", scale))
    succeeds("convert", path, tmp_path / "out.gguf", "--type", "TQ2_0", "--i2s-order", order)
    wanted = encode("TQ2_0", trits, lambda r, c: scale)
    assert tensor_bytes(tmp_path / "out.gguf", len(wanted)) == wanted


def test_scales_are_rounded_only_when_asked(tmp_path):
    path = write_gguf(tmp_path / "in.gguf", 36, bytes([0x55]) * (ROWS * COLS // 4 - 1) + b"\0" + struct.pack("<f28x", 0.1))
    said = fails(1, "convert", path, tmp_path / "out.gguf", "--type", "TQ2_0")
    assert NAME in said and "0.1" in said and not (tmp_path / "out.gguf").exists()
    succeeds("convert", path, tmp_path / "out.gguf", "--type", "TQ2_0", "--round-scales")


def test_group_sizes_that_do_not_fit(tmp_path):
    data = encode("Q2_0", random_trits(), lambda r, c: 0.5 + c // 64)
    path = write_gguf(tmp_path / "in.gguf", 42, data)
    said = fails(1, "convert", path, tmp_path / "out.gguf", "--type", "PQ2_0")
    assert NAME in said and "row 0" in said and "groups of 64" in said
    assert not (tmp_path / "out.gguf").exists()
