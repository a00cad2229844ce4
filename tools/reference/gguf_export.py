"""A transformers state dict as a GGUF file, with the key names, tensor names and row orders that
llama.cpp's own converter uses (a second writer beside Sterna's, over the `gguf` package).

Only what the golden models need. Tensors arrive as float32 numpy arrays under their Hugging Face names.
"""
import math
from pathlib import Path

import gguf
import numpy as np

TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_TENSORS = TENSORS | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


PAIRED = ("llama", "smollm3")


def tensor_name(arch: str, name: str) -> str:
    table = GEMMA_TENSORS if arch.startswith("gemma") else TENSORS
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{table[rest]}.{kind}"
    return f"{table[stem]}.{kind}"


def adjacent_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """Half-split rotary rows -> the order in which a rotary pair is two neighbours (PAIRED families)."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def convert(arch: str, config: dict, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """GGUF name -> float32 array, row orders and norm offsets as the format wants them."""
    out = {}
    for name, value in state.items():
        if arch in PAIRED and ".q_proj." in name:
            value = adjacent_pairs(value, config["num_attention_heads"])
        if arch in PAIRED and ".k_proj." in name:
            value = adjacent_pairs(value, config["num_key_value_heads"])
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            value = value + np.float32(1)
        out[tensor_name(arch, name)] = np.ascontiguousarray(value, dtype=np.float32)
    return out


def rope_frequency_factors(config: dict, rope: dict) -> np.ndarray:
    """Llama 3's rotary scaling as the divisors that GGUF stores in rope_freqs.weight."""
    size = head_size(config)
    wave = 2 * np.pi * config["rope_theta"] ** (np.arange(0, size, 2) / size)
    turns = rope["original_max_position_embeddings"] / wave
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def head_size(config: dict) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def add_parameters(writer: gguf.GGUFWriter, arch: str, config: dict) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch in ("llama", "bitnet", "bitnet-b1.58"):
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head_size(config))
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if config.get("rope_local_base_freq"):
        writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    add_rope_scaling(writer, config)


def add_rope_scaling(writer: gguf.GGUFWriter, config: dict) -> None:
    rope = config.get("rope_scaling")
    if not rope:
        return
    kind = rope.get("rope_type") or rope["type"]
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind == "longrope":
        original = config["original_max_position_embeddings"]
        stretch = config["max_position_embeddings"] / original
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))
        for length in ("long", "short"):
            factors = np.array(rope[f"{length}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_frequency_factors(config, rope))
    else:
        raise ValueError(f"GGUF has no rope scaling {kind}")


def write(path: Path, arch: str, config: dict, state: dict[str, np.ndarray], add_tokenizer,
          matrix_type: gguf.GGMLQuantizationType, encode=None, extra=None, split: int = 0) -> None:
    """`encode(name, array)` may return (bytes, shape in elements, type) for tensors that `gguf` cannot
    quantise; `extra(writer)` adds keys; `split` is the number of tensors in a part."""
    writer = gguf.GGUFWriter(path, arch, split_max_tensors=split)
    writer.add_name(path.parent.name)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_parameters(writer, arch, config)
    add_tokenizer(writer)
    for name, value in convert(arch, config, state).items():
        coded = encode(name, value) if encode else None
        if coded:
            data, kind = coded
            writer.add_tensor(name, data, raw_shape=value.shape, raw_dtype=kind)
        elif value.ndim == 1 or matrix_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, value)
        else:
            data = gguf.quants.quantize(value, matrix_type)
            writer.add_tensor(name, data, raw_dtype=matrix_type)
    if extra:
        extra(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
