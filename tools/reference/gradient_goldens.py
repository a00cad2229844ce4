#!/usr/bin/env python3
"""Writes gradients.bin beside every golden model that has a Hugging Face folder (tests/data/models).

    python tools/reference/gradient_goldens.py [--models tests/data/models] [NAME ...]

Run by developers, after model_goldens.py; needs torch and transformers. BitNet models are left out: their
weights are rounded at every step.

The loss is the mean KL(uniform || model) of the next token over two windows of LENGTH tokens, the first and
the last of the golden's prompt. gradients.bin, float32, little-endian: the loss; for every layer the gradient
at the logarithm of every row's scale of q, k, v, o, gate, up, down, then at the logarithm of every gain of its
norms (before attention, q, k, after attention, before and after the feed-forward: those that exist); last the
final norm's gains.
"""
import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

import model_goldens

LENGTH = 20


def matrices(layer) -> list[torch.nn.Parameter]:
    """Weights, or the pairs (weight, slice of its rows) where several are one."""
    attention, ffn = layer.self_attn, layer.mlp
    out = [(getattr(attention, f"{name}_proj").weight, slice(None)) for name in "qkv" if hasattr(attention, "q_proj")]
    if not out:
        q = attention.config.num_attention_heads * attention.head_dim
        kv = attention.config.num_key_value_heads * attention.head_dim
        fused = attention.qkv_proj.weight
        out = [(fused, slice(0, q)), (fused, slice(q, q + kv)), (fused, slice(q + kv, q + 2 * kv))]
    out.append((attention.o_proj.weight, slice(None)))
    if hasattr(ffn, "gate_up_proj"):
        half = ffn.gate_up_proj.weight.shape[0] // 2
        out += [(ffn.gate_up_proj.weight, slice(0, half)), (ffn.gate_up_proj.weight, slice(half, 2 * half))]
    else:
        out += [(ffn.gate_proj.weight, slice(None)), (ffn.up_proj.weight, slice(None))]
    return out + [(ffn.down_proj.weight, slice(None))]


def norms(layer) -> list:
    if hasattr(layer, "pre_feedforward_layernorm"):
        outside = [layer.input_layernorm, layer.post_attention_layernorm,
                   layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm]
    else:
        outside = [layer.input_layernorm, layer.post_attention_layernorm]
    heads = [getattr(layer.self_attn, name) for name in ("q_norm", "k_norm") if hasattr(layer.self_attn, name)]
    return outside[:1] + heads + outside[1:]


def gradients(folder: Path, prompt: list[int]) -> np.ndarray:
    model = model_goldens.load(folder / "hf")
    shift = 1.0 if model.config.model_type.startswith("gemma") else 0.0
    windows = torch.tensor([prompt[:LENGTH], prompt[-LENGTH:]])
    likely = model(windows).logits.log_softmax(-1)
    loss = -math.log(likely.shape[-1]) - likely.mean()
    loss.backward()
    out = [loss.detach().reshape(1)]
    for layer in model.model.layers:
        out += [(weight.grad * weight).sum(1)[rows] for weight, rows in matrices(layer)]
        out += [norm.weight.grad * (norm.weight + shift) for norm in norms(layer)]
    final = model.model.norm.weight
    out.append(final.grad * (final + shift))
    return torch.cat(out).detach().numpy().astype("<f4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("tests/data/models"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    for folder in sorted(args.models.iterdir()):
        if not (folder / "hf").is_dir() or "bitnet" in folder.name or (args.names and folder.name not in args.names):
            continue
        prompt = json.loads((folder / "golden.json").read_text())["prompt"]
        values = gradients(folder, prompt)
        values.tofile(folder / "gradients.bin")
        print(f"{folder.name}: loss {values[0]:.4f}, {len(values) - 1} gradients up to {abs(values[1:]).max():.3g}")


main()
