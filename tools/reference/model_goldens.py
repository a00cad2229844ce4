#!/usr/bin/env python3
"""Writes tests/data/models: tiny random models of every family with what transformers computes for them.

    python tools/reference/model_goldens.py [--out tests/data/models] [NAME ...]

Run by developers, not by CI; needs torch, transformers, tokenizers, safetensors, gguf. Seeds are fixed;
another version of torch may still draw other weights, so regenerate a folder as a whole.

One folder a model:
    hf/            a Hugging Face folder: config.json, safetensors, tokenizer.json, ...   (where given)
    model.gguf     the same weights as GGUF v3                                            (where given)
    golden.json    {"name", "family"
                    "models": the paths in this folder that hold this model; each must give these logits
                    "vocab": length of a row of logits
                    "prompt": token ids
                    "rows": positions in the prompt whose logits are stored; the last is its end
                    "greedy": the 64 ids that follow the prompt when the largest logit always wins
                    "range": largest minus smallest stored logit
                    "margin": smallest gap between best and second best logit over the 64 steps
                    "tolerance": largest allowed |difference| of a logit, as a share of "range"
                    "activations": "float" or "int8" (BitNet: absmax per token before each ternary matmul)}
    golden.bin     float32, little-endian, [rows + 1][vocab]: the logits after prompt[0..rows[i]], and as
                   last row those that chose greedy[63] (so the cache holds prompt and greedy[0..62])

Every weight is a value that BF16, F16 and F32 hold exactly, so one set of logits serves every container.
The continuation is computed with a cache, token by token, as a decoder does. A case lists `proofs`: changes
of the config that must move the logits by far more than the tolerance, or the golden would not notice a
reader that ignores that key. A seed is kept when no step of the continuation is a close call.
"""
import argparse
import json
import math
import os
import shutil
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # transformers' BitNet modules would compile themselves

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.integrations.bitnet import BitLinear, WeightQuant, pack_weights

import gguf_export
import tiny_tokenizer

STEPS = 64
MIN_MARGIN = 3e-3  # of the range, three times the tolerance of float models
BITNET_TOLERANCE = 1e-2  # see steady()
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
GGUF_TYPES = {name: gguf.GGMLQuantizationType[name] for name in DTYPES}


@dataclass
class Case:
    name: str
    family: str
    config: dict
    prompt: int = 40
    arch: str | None = None  # of the GGUF; None: no GGUF
    hf_type: str | None = "BF16"  # None: no Hugging Face folder
    gguf_type: str = "F16"
    shards: int = 1
    split: int = 0  # GGUF tensors in a part
    bitnet: str | None = None  # online | bitlinear | autobitlinear
    ternary: str | None = None  # TQ2_0 | I2_S: the GGUF type of BitNet matrices
    hadamard: int = 0  # block of the prism.hadamard fold
    llama2c: bool = False
    tolerance: float = 1e-3
    seed_as: str | None = None  # draws the weights of that case
    proofs: dict = field(default_factory=dict)


def base(model_type: str, architecture: str, **changes) -> dict:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "vocab_size": tiny_tokenizer.VOCAB,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": tiny_tokenizer.BOS,
        "eos_token_id": tiny_tokenizer.EOS,
        "initializer_range": 0.02,
    }
    return config | changes


def llama(**changes) -> dict:
    small = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
             "num_key_value_heads": 2, "hidden_act": "silu", "attention_bias": False,
             "mlp_bias": False, "rms_norm_eps": 1e-5}
    return base("llama", "LlamaForCausalLM", **(small | changes))


def rope(kind: str, **more) -> dict:
    return {"rope_type": kind} | more


def phi3(**changes) -> dict:
    return base("phi3", "Phi3ForCausalLM", **({"hidden_size": 32, "intermediate_size": 48,
                "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
                "pad_token_id": None, "sliding_window": None, "tie_word_embeddings": False} | changes))


def bitnet(**changes) -> dict:
    return base("bitnet", "BitNetForCausalLM", **({"hidden_size": 128, "intermediate_size": 128,
                "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "relu2",
                "rope_theta": 500000.0} | changes))


GEMMA2 = base("gemma2", "Gemma2ForCausalLM", head_dim=32, query_pre_attn_scalar=32, sliding_window=12,
              attn_logit_softcapping=3.0, final_logit_softcapping=10.0, hidden_act="gelu_pytorch_tanh",
              hidden_activation="gelu_pytorch_tanh", num_attention_heads=2, rms_norm_eps=1e-6,
              attention_bias=False)
GEMMA3 = base("gemma3_text", "Gemma3ForCausalLM", hidden_size=32, intermediate_size=40, head_dim=24,
              query_pre_attn_scalar=24, num_hidden_layers=6, num_attention_heads=2, sliding_window=10,
              sliding_window_pattern=6, rope_theta=1000000.0, rope_local_base_freq=10000.0,
              rope_scaling=rope("linear", factor=8.0), hidden_activation="gelu_pytorch_tanh",
              attn_logit_softcapping=None, final_logit_softcapping=None, rms_norm_eps=1e-6,
              attention_bias=False)

CASES = [
    Case("llama", "llama", llama(tie_word_embeddings=False), arch="llama", hf_type="F32", shards=3),
    Case("llama-split", "llama", llama(tie_word_embeddings=False), arch="llama", hf_type=None,
         split=8, seed_as="llama"),
    Case("llama-hadamard", "llama", llama(tie_word_embeddings=False), arch="llama", hf_type=None,
         gguf_type="F32", hadamard=16, seed_as="llama"),
    Case("llama2c", "llama", llama(tie_word_embeddings=False), hf_type=None, llama2c=True,
         seed_as="llama"),
    Case("llama-tied-bias", "llama", llama(attention_bias=True, mlp_bias=True), arch="llama",
         gguf_type="BF16"),
    Case("llama-head-size", "llama", llama(head_dim=24), arch="llama", hf_type="F16"),
    Case("llama-rope-linear", "llama", llama(rope_scaling={"type": "linear", "factor": 2.5}),
         arch="llama", prompt=96, proofs={"scaling": {"rope_scaling": None}}),
    Case("llama-rope-dynamic", "llama",
         llama(max_position_embeddings=32, rope_scaling=rope("dynamic", factor=4.0)), prompt=24,
         proofs={"scaling": {"rope_scaling": None}}),
    Case("llama-rope-llama3", "llama", llama(rope_scaling=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)), arch="llama", prompt=96,
        proofs={"scaling": {"rope_scaling": None}}),
    Case("llama-rope-yarn", "llama", llama(num_attention_heads=2, num_key_value_heads=1,
         max_position_embeddings=128, rope_scaling=rope(
             "yarn", factor=4.0, original_max_position_embeddings=32)), arch="llama", prompt=60,
         proofs={"scaling": {"rope_scaling": None},
                 "magnitude": {"rope_scaling": rope("yarn", factor=4.0, attention_factor=1.0,
                                                    original_max_position_embeddings=32)},
                 "ramp": {"rope_scaling": rope("yarn", factor=4.0,
                                               original_max_position_embeddings=64)}}),
    Case("mistral", "mistral", base("mistral", "MistralForCausalLM", sliding_window=16,
         hidden_act="silu", tie_word_embeddings=False), arch="llama", prompt=40,
         proofs={"window": {"sliding_window": None}, "size": {"sliding_window": 17}}),
    Case("qwen2", "qwen2", base("qwen2", "Qwen2ForCausalLM", hidden_act="silu", rope_theta=1000000.0,
         use_sliding_window=False, sliding_window=None, rms_norm_eps=1e-6), arch="qwen2"),
    Case("qwen3", "qwen3", base("qwen3", "Qwen3ForCausalLM", hidden_act="silu", head_dim=24,
         rope_theta=1000000.0, attention_bias=False, use_sliding_window=False, sliding_window=None,
         rms_norm_eps=1e-6), arch="qwen3"),
    Case("gemma2", "gemma2", GEMMA2, arch="gemma2", proofs={
        "attention cap": {"attn_logit_softcapping": None},
        "final cap": {"final_logit_softcapping": None},
        "window": {"sliding_window": 200}, "size": {"sliding_window": 13},
        "alternation": {"layer_types": ["full_attention", "sliding_attention"]}}),
    # GGUF has no key for query_pre_attn_scalar (27B has 144 with heads of 128), so only as a folder.
    Case("gemma2-query-scale", "gemma2", GEMMA2 | {"query_pre_attn_scalar": 8},
         proofs={"scale": {"query_pre_attn_scalar": 32}}),
    Case("gemma3", "gemma3", GEMMA3, arch="gemma3", proofs={
        "window": {"sliding_window": 200}, "size": {"sliding_window": 11},
        "local base": {"rope_local_base_freq": 1000000.0},
        "global scaling": {"rope_scaling": None}}),
    # one matrix for q, k, v and one for gate and up
    Case("phi3", "phi3", phi3(), arch="phi3"),
    # the prompt is short text, its continuation becomes long
    Case("phi3-longrope", "phi3", phi3(max_position_embeddings=128, original_max_position_embeddings=48,
         rope_scaling={"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5],
                       "long_factor": [2.0, 3.0, 5.0, 8.0]}), arch="phi3", prompt=24,
         proofs={"long": {"rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5],
                                           "long_factor": [1.0, 1.5, 2.0, 2.5]}}}),
    # every fourth layer is not rotated
    Case("smollm3", "smollm3", base("smollm3", "SmolLM3ForCausalLM", hidden_size=32,
         intermediate_size=40, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
         hidden_act="silu", attention_bias=False, use_sliding_window=False, sliding_window=None,
         pad_token_id=None, no_rope_layer_interval=4), arch="smollm3",
         proofs={"rotation": {"no_rope_layer_interval": 2}}),
    Case("bitnet-online", "bitnet", bitnet(hidden_size=48, intermediate_size=80,
         num_attention_heads=3, num_key_value_heads=1), bitnet="online", arch="bitnet-b1.58",
         tolerance=BITNET_TOLERANCE, proofs={"activation": {"hidden_act": "silu"}}),
    Case("bitnet-packed", "bitnet", bitnet(), bitnet="bitlinear", arch="bitnet-b1.58",
         ternary="I2_S", tolerance=BITNET_TOLERANCE),
    Case("bitnet-packed-auto", "bitnet", bitnet(hidden_size=64, intermediate_size=96),
         bitnet="autobitlinear", tolerance=BITNET_TOLERANCE),
    # llama.cpp's own "bitnet" is the earlier 1-bit LLaMA: the same sub-norms around a SiLU gate.
    Case("bitnet-silu", "bitnet", bitnet(hidden_size=256, intermediate_size=256,
         num_hidden_layers=1, hidden_act="silu"), bitnet="autobitlinear", arch="bitnet",
         hf_type=None, ternary="TQ2_0", tolerance=BITNET_TOLERANCE),
]


def draw(model, seed: int) -> dict[str, torch.Tensor]:
    """Random weights under which every part of the model matters to the logits."""
    random = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type.startswith("gemma")
    tied = model.config.tie_word_embeddings
    out = {}
    for name, old in sorted(model.state_dict().items()):
        if tied and name == "lm_head.weight":
            continue
        value = torch.randn(old.shape, generator=random)
        fan_in = old.shape[-1]
        if name.endswith("norm.weight"):
            if name == "model.norm.weight" and tied:
                value = value * 2.0 - 1.0 if gemma else value * 0.5  # signs vary: no token repeats itself
            else:
                value = value * 0.25 + (0.0 if gemma else 1.0)
        elif name.endswith(".bias"):
            value = value * 0.3
        elif name in ("model.embed_tokens.weight", "lm_head.weight"):
            value = value * torch.exp(0.4 * torch.randn(old.shape[0], 1, generator=random))
            value = value * (2.0 if name[0] == "l" else 1.0 if gemma else math.sqrt(fan_in))
            value = value / math.sqrt(fan_in)
        elif ".q_proj." in name or ".k_proj." in name:
            value = value * 1.6 / math.sqrt(fan_in)
        else:
            value = value * 1.5 / math.sqrt(fan_in)
        out[name] = value.to(torch.bfloat16).to(torch.float16).float()
        assert torch.equal(out[name].to(torch.bfloat16).float(), out[name]), name
    return out


def is_ternary(name: str) -> bool:
    return "_proj.weight" in name


def trits_of(case: Case, weight: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """BitNet's own rounding: trits, what one of them is worth, and the number stored for it: "bitlinear"
    divides by that number, "autobitlinear" multiplies. BF16 holds it exactly (and F16 for the latter)."""
    scale = float(weight.abs().mean().to(torch.bfloat16).half())
    stored = scale
    if case.bitnet == "bitlinear":
        stored = float(torch.tensor(1 / scale).to(torch.bfloat16))
        scale = 1 / stored
    return (weight / scale).round().clamp(-1, 1), scale, stored


def hugging_face_state(case: Case, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    kind = DTYPES[case.hf_type or "BF16"]
    out = {}
    for name, value in state.items():
        if case.bitnet in ("bitlinear", "autobitlinear") and is_ternary(name):
            trits, _, stored = trits_of(case, value)
            stem = name.removesuffix(".weight")
            out[name] = pack_weights(trits.clone())
            out[stem + ".weight_scale"] = torch.tensor([stored]).to(kind)
        else:
            out[name] = value.to(kind).contiguous()
    return out


def write_hugging_face(case: Case, folder: Path, state: dict[str, torch.Tensor], tokenizer) -> None:
    folder.mkdir(parents=True)
    kind = case.hf_type or "BF16"
    config = case.config | {"torch_dtype": str(DTYPES[kind]).removeprefix("torch.")}
    if case.bitnet:
        config["quantization_config"] = {
            "quant_method": "bitnet", "modules_to_not_convert": None,
            "linear_class": "bitlinear" if case.bitnet == "bitlinear" else "autobitlinear",
            "quantization_mode": "online" if case.bitnet == "online" else "offline"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": tiny_tokenizer.BOS, "eos_token_id": tiny_tokenizer.EOS}, indent=1) + "\n")
    tiny_tokenizer.write_hugging_face(tokenizer, folder)
    stored = hugging_face_state(case, state)
    if case.shards == 1:
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        return
    names, index = sorted(stored), {}
    for part in range(case.shards):
        file = f"model-{part + 1:05}-of-{case.shards:05}.safetensors"
        chosen = names[part::case.shards]
        save_file({name: stored[name] for name in chosen}, folder / file, {"format": "pt"})
        index |= {name: file for name in chosen}
    total = sum(value.numel() * value.element_size() for value in stored.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": total}, "weight_map": index}, indent=1) + "\n")


def load(folder: Path):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True)
    torch.nn.Module.float(model)  # what a quantised checkpoint left in BF16
    for module in model.modules():
        if isinstance(module, BitLinear):
            module.dtype = torch.float32  # of its sums
    return model.eval()


@torch.no_grad()
def reference(model, prompt: list[int]) -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """Logits of the prompt [n][vocab], the greedy ids, and the logits of every step [STEPS][vocab]."""
    out = model(torch.tensor([prompt]), use_cache=True)
    logits, steps, greedy = out.logits[0].float(), [], []
    step, cache = logits[-1], out.past_key_values
    while True:
        steps.append(step)
        greedy.append(int(step.argmax()))
        if len(greedy) == STEPS:
            return logits, greedy, torch.stack(steps)
        out = model(torch.tensor([greedy[-1:]]), past_key_values=cache, use_cache=True)
        step, cache = out.logits[0, -1].float(), out.past_key_values


def golden_rows(case: Case) -> list[int]:
    return sorted({0, 1, case.prompt // 3, 2 * case.prompt // 3, case.prompt - 1})


def prove(case: Case, folder: Path, prompt: list[int], want: torch.Tensor) -> None:
    """A reader that ignores what a proof changes must miss the golden by at least 20 tolerances."""
    for label, change in case.proofs.items():
        with tempfile.TemporaryDirectory() as other:
            copy = Path(other) / "hf"
            shutil.copytree(folder, copy)
            config = json.loads((copy / "config.json").read_text()) | change
            (copy / "config.json").write_text(json.dumps(config))
            _, greedy, steps = reference(load(copy), prompt)
        difference = float((steps[-1] - want["steps"][-1]).abs().max()) / want["range"]
        assert greedy != want["greedy"] or difference > 20 * case.tolerance, (case.name, label)
        print(f"    proof {label}: continuation {'differs' if greedy != want['greedy'] else 'same'}, "
              f"last logits {difference:.3f} of the range")


def steady(case: Case, model, prompt: list[int], want: dict) -> bool:
    """int8 activations turn a difference in the last bits into a whole step where a value lies between two
    codes. Float rounding of another program is imitated by noise of 1e-6 on the output of every norm and
    linear: the continuation must stay, and the logits must move by less than half the tolerance."""
    def shake(_module, _inputs, out):
        return out * (1 + 1e-6 * torch.randn(out.shape, generator=random))

    names = ("norm", "_proj", "embed_tokens")
    hooks = [module.register_forward_hook(shake) for name, module in model.named_modules()
             if name.endswith(names)]
    for seed in range(6):
        random = torch.Generator().manual_seed(seed)
        logits, greedy, steps = reference(model, prompt)
        rows = torch.cat([logits[golden_rows(case)], steps[-1:]])
        moved = float((rows - want["rows"]).abs().max()) / want["range"]
        if greedy != want["greedy"] or moved > case.tolerance / 2:
            break
    for hook in hooks:
        hook.remove()
    return greedy == want["greedy"] and moved <= case.tolerance / 2


def find_seed(case: Case, tokenizer, prompt: list[int], work: Path):
    """The first seed whose continuation has no close call and says something."""
    config = transformers.AutoConfig.for_model(**case.config)
    shape = transformers.AutoModelForCausalLM.from_config(config)
    for seed in range(1000):
        folder = work / f"seed{seed}"
        state = draw(shape, seed)
        write_hugging_face(case, folder, state, tokenizer)
        model = load(folder)
        logits, greedy, steps = reference(model, prompt)
        rows = torch.cat([logits[golden_rows(case)], steps[-1:]])
        span = float(rows.max() - rows.min())
        best = steps.topk(2).values
        margin = float((best[:, 0] - best[:, 1]).min())
        want = {"rows": rows, "greedy": greedy, "steps": steps, "range": span, "margin": margin}
        if margin > MIN_MARGIN * span and len(set(greedy)) >= 16 and \
                (not case.bitnet or steady(case, model, prompt, want)):
            print(f"{case.name}: seed {seed}, range {span:.2f}, margin {margin / span:.4f} of it, "
                  f"{len(set(greedy))} different tokens")
            return folder, state, want
        shutil.rmtree(folder)
    raise RuntimeError(f"{case.name}: no seed gives a robust continuation")


def hadamard(rows: np.ndarray, block: int) -> np.ndarray:
    """Normalised Sylvester-Walsh-Hadamard over blocks of the last axis (symmetric, its own inverse)."""
    matrix = np.ones((1, 1))
    while matrix.shape[0] < block:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    parts = rows.reshape(rows.shape[0], -1, block).astype(np.float64)
    return (parts @ matrix / math.sqrt(block)).reshape(rows.shape).astype(np.float32)


class HadamardFold:
    """prism.hadamard version 1: listed weights hold W diag(s) H, so that H (s o x) is their input."""

    def __init__(self, case: Case, state: dict):
        self.block = case.hadamard
        self.widths = sorted({value.shape[1] for value in state.values() if value.ndim == 2})
        random = np.random.default_rng(7)
        self.signs = {width: random.choice([-1, 1], width) for width in self.widths}
        self.weights, self.inverse = [], ["token_embd.weight"]

    def encode(self, name: str, value: np.ndarray):
        if value.ndim != 2:
            return None
        if name not in self.inverse:
            self.weights.append(name)
        signs = self.signs[value.shape[1]].astype(np.float32)
        folded = hadamard(value * signs, self.block)
        assert np.allclose(folded @ hadamard(np.diag(signs), self.block).T, value, atol=1e-5)
        return folded, gguf.GGMLQuantizationType.F32

    def add_keys(self, writer: gguf.GGUFWriter) -> None:
        key = "prism.hadamard."
        writer.add_uint32(key + "version", 1)
        writer.add_uint32(key + "block_size", self.block)
        writer.add_string(key + "transform", "normalized-sylvester-walsh-hadamard")
        writer.add_string(key + "axis", "input-last-dimension")
        writer.add_string(key + "sign_mode", "explicit")
        writer.add_array(key + "sign_widths", self.widths)
        signs = np.concatenate([self.signs[width] for width in self.widths])
        writer.add_key_value(key + "sign_values", [int(sign) for sign in signs],
                             gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT8)
        writer.add_array(key + "weight_names", self.weights)
        writer.add_array(key + "inverse_weight_names", self.inverse)


def i2_s(trits: np.ndarray, scale: float) -> np.ndarray:
    """x86 order: byte p of a block of 128 holds elements p, 32+p, 64+p, 96+p, highest bits first."""
    codes = (trits + 1).astype(np.uint8).reshape(-1, 4, 32)
    data = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    tail = np.zeros(32, np.uint8)
    tail[:4] = np.frombuffer(struct.pack("<f", scale), np.uint8)
    return np.concatenate([data.ravel(), tail]).view(np.int8)


def write_gguf(case: Case, path: Path, state: dict[str, torch.Tensor], tokenizer) -> None:
    arrays = {name: value.numpy() for name, value in state.items()}
    fold = HadamardFold(case, state) if case.hadamard else None
    encode = fold.encode if fold else None
    if case.bitnet == "online":  # trits times their scale as floats, as llama.cpp's converter has it
        arrays |= {name: WeightQuant.apply(state[name]).numpy() for name in filter(is_ternary, arrays)}
    if case.ternary:
        for name in filter(is_ternary, list(arrays)):
            trits, scale, _ = trits_of(case, state[name])
            arrays[name] = (trits * scale).numpy()

        def encode(name, value):
            if value.ndim == 1 or not name.startswith("blk."):
                return None
            scale = float(np.abs(value).max())
            if case.ternary == "I2_S":
                return i2_s(np.rint(value / scale), scale), 36
            coded = gguf.quants.quantize(value, gguf.GGMLQuantizationType.TQ2_0)
            assert np.array_equal(gguf.quants.dequantize(coded, gguf.GGMLQuantizationType.TQ2_0), value)
            return coded.view(np.int8), gguf.GGMLQuantizationType.TQ2_0
    gguf_export.write(path, case.arch, case.config, arrays,
                      lambda writer: tiny_tokenizer.add_to_gguf(tokenizer, writer),
                      GGUF_TYPES[case.gguf_type], encode, fold.add_keys if fold else None, case.split)


def write_llama2c(config: dict, path: Path, state: dict[str, torch.Tensor]) -> None:
    """Version 0: seven int32, then float32 tensors; q and k rows pair neighbours; the head is untied."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    layers, half = range(config["num_hidden_layers"]), gguf_export.head_size(config) // 2
    order = [["model.embed_tokens.weight"]]
    order += [[f"model.layers.{layer}.{part}.weight" for layer in layers] for part in (
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.down_proj",
        "mlp.up_proj")]
    order += [["model.norm.weight"], None, ["lm_head.weight"]]
    with path.open("wb") as out:
        out.write(struct.pack("<7i", config["hidden_size"], config["intermediate_size"], len(layers),
                              heads, groups, -config["vocab_size"], config["max_position_embeddings"]))
        for names in order:
            if names is None:  # freq_cis_real and freq_cis_imag, which readers skip
                out.write(bytes(2 * 4 * config["max_position_embeddings"] * half))
                continue
            for name in names:
                value = state[name].numpy()
                if "q_proj" in name or "k_proj" in name:
                    value = gguf_export.adjacent_pairs(value, heads if "q_proj" in name else groups)
                out.write(np.ascontiguousarray(value, "<f4").tobytes())


def write_case(case: Case, out: Path, tokenizer) -> None:
    prompt = tiny_tokenizer.ids(tokenizer, case.prompt)
    donor = next(other for other in CASES if other.name == (case.seed_as or case.name))
    target = out / case.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        folder, state, want = find_seed(donor, tokenizer, prompt, Path(work))
        prove(case, folder, prompt, want)
        models = []
        if case.hf_type:
            shutil.copytree(folder, target / "hf")
            models.append("hf")
        if case.arch:
            write_gguf(case, target / "model.gguf", state, tokenizer)
            models += sorted(path.name for path in target.glob("model*.gguf"))[:1]
        if case.llama2c:
            write_llama2c(case.config, target / "model.bin", state)
            tiny_tokenizer.write_llama2c(target / "tokenizer.bin")
            models.append("model.bin")
    want["rows"].numpy().astype("<f4").tofile(target / "golden.bin")
    golden = {"name": case.name, "family": case.family, "models": models,
              "vocab": case.config["vocab_size"], "prompt": prompt, "rows": golden_rows(case),
              "greedy": want["greedy"], "range": round(want["range"], 6),
              "margin": round(want["margin"], 6), "tolerance": case.tolerance,
              "activations": "int8" if case.bitnet else "float"}
    (target / "golden.json").write_text(json.dumps(golden) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data/models"))
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = tiny_tokenizer.build()
    for case in CASES:
        if not arguments.names or case.name in arguments.names:
            write_case(case, arguments.out, tokenizer)


if __name__ == "__main__":
    main()
