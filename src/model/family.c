/* The rows of the family table. Facts from the reference implementations (transformers' modeling
 * files and configuration defaults, llama.cpp's graphs and tensor names). */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

/* The names in GGUF files are the same for every family but those that fuse matrices. */
#define GGUF_COMMON                                                                                \
    .prefixes = {""}, .layers = "blk.",                                                            \
    .ignored_suffixes = {".attn_rot_embd.weight", ".attn_rot_embd", ".rotary_emb.inv_freq"}
#define GGUF_NAMES                                                                                 \
    [STERNA_SLOT_EMBEDDING] = "token_embd", [STERNA_SLOT_FINAL_NORM] = "output_norm",              \
    [STERNA_SLOT_HEAD] = "output", [STERNA_SLOT_ROPE_DIVISORS] = "rope_freqs",                     \
    [STERNA_SLOT_ROPE_LONG] = "rope_factors_long",                                                 \
    [STERNA_SLOT_ROPE_SHORT] = "rope_factors_short", [STERNA_SLOT_ATTN_NORM] = "attn_norm",        \
    [STERNA_SLOT_Q] = "attn_q", [STERNA_SLOT_K] = "attn_k", [STERNA_SLOT_V] = "attn_v",            \
    [STERNA_SLOT_QKV] = "attn_qkv", [STERNA_SLOT_Q_NORM] = "attn_q_norm",                          \
    [STERNA_SLOT_K_NORM] = "attn_k_norm", [STERNA_SLOT_ATTN_SUB_NORM] = "attn_sub_norm",           \
    [STERNA_SLOT_OUT] = "attn_output", [STERNA_SLOT_ATTN_POST_NORM] = "post_attention_norm",       \
    [STERNA_SLOT_FFN_NORM] = "ffn_norm", [STERNA_SLOT_FFN_SUB_NORM] = "ffn_sub_norm",              \
    [STERNA_SLOT_DOWN] = "ffn_down", [STERNA_SLOT_FFN_POST_NORM] = "post_ffw_norm"

static const sterna_tensor_names gguf_names = {
    GGUF_COMMON,
    .name = {GGUF_NAMES, [STERNA_SLOT_GATE] = "ffn_gate", [STERNA_SLOT_UP] = "ffn_up"}};
/* Phi-3's ffn_up holds the gate as well. */
static const sterna_tensor_names gguf_fused_names = {
    GGUF_COMMON, .name = {GGUF_NAMES, [STERNA_SLOT_GATE_UP] = "ffn_up"}};

#define HF_COMMON                                                                                  \
    .prefixes = {"model.", "language_model.model.", "model.language_model.", ""},                  \
    .layers = "layers.",                                                                           \
    .ignored_prefixes = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",         \
                         "model.multi_modal_projector."},                                          \
    .ignored_suffixes = {".rotary_emb.inv_freq"}
#define HF_NAMES                                                                                   \
    [STERNA_SLOT_EMBEDDING] = "embed_tokens", [STERNA_SLOT_FINAL_NORM] = "norm",                   \
    [STERNA_SLOT_HEAD] = "lm_head", [STERNA_SLOT_ATTN_NORM] = "input_layernorm",                   \
    [STERNA_SLOT_Q] = "self_attn.q_proj", [STERNA_SLOT_K] = "self_attn.k_proj",                    \
    [STERNA_SLOT_V] = "self_attn.v_proj", [STERNA_SLOT_QKV] = "self_attn.qkv_proj",                \
    [STERNA_SLOT_Q_NORM] = "self_attn.q_norm", [STERNA_SLOT_K_NORM] = "self_attn.k_norm",          \
    [STERNA_SLOT_ATTN_SUB_NORM] = "self_attn.attn_sub_norm",                                       \
    [STERNA_SLOT_OUT] = "self_attn.o_proj", [STERNA_SLOT_GATE] = "mlp.gate_proj",                  \
    [STERNA_SLOT_UP] = "mlp.up_proj", [STERNA_SLOT_GATE_UP] = "mlp.gate_up_proj",                  \
    [STERNA_SLOT_FFN_SUB_NORM] = "mlp.ffn_sub_norm", [STERNA_SLOT_DOWN] = "mlp.down_proj"

static const sterna_tensor_names hf_names = {
    HF_COMMON, .name = {HF_NAMES, [STERNA_SLOT_FFN_NORM] = "post_attention_layernorm"}};
/* Where norms stand behind attention and feed-forward too, "post_attention_layernorm" is the one
 * behind attention. */
static const sterna_tensor_names hf_gemma_names = {
    HF_COMMON, .name = {HF_NAMES, [STERNA_SLOT_ATTN_POST_NORM] = "post_attention_layernorm",
                        [STERNA_SLOT_FFN_NORM] = "pre_feedforward_layernorm",
                        [STERNA_SLOT_FFN_POST_NORM] = "post_feedforward_layernorm"}};

static const sterna_family families[] = {
    /* Llama 2 and 3, SmolLM 1 and 2, TinyLlama, Falcon 3, Mistral in GGUF, llama2.c's stories */
    {.name = "llama",
     .gguf = {"llama"},
     .hf = {"LlamaForCausalLM"},
     .model_type = {"llama"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_PAIRS,
     .rope_base = 10000},
    {.name = "mistral",
     .hf = {"MistralForCausalLM"},
     .model_type = {"mistral"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_PAIRS,
     .default_window = 4096,
     .rope_base = 10000},
    {.name = "smollm3",
     .gguf = {"smollm3"},
     .hf = {"SmolLM3ForCausalLM"},
     .model_type = {"smollm3"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .has = STERNA_WINDOW_OPTIONAL | STERNA_TIED_BY_DEFAULT,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_PAIRS,
     .no_rope_every = 4,
     .rope_base = 2000000},
    {.name = "qwen2",
     .gguf = {"qwen2"},
     .hf = {"Qwen2ForCausalLM"},
     .model_type = {"qwen2"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .has = STERNA_HAS_QKV_BIAS | STERNA_WINDOW_OPTIONAL,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_HALVES,
     .rope_base = 10000},
    {.name = "qwen3",
     .gguf = {"qwen3"},
     .hf = {"Qwen3ForCausalLM"},
     .model_type = {"qwen3"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .has = STERNA_HAS_QK_NORM | STERNA_WINDOW_OPTIONAL,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_HALVES,
     .rope_base = 10000},
    {.name = "gemma2",
     .gguf = {"gemma2"},
     .hf = {"Gemma2ForCausalLM"},
     .model_type = {"gemma2"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_gemma_names,
     .has = STERNA_HAS_POST_NORMS | STERNA_SCALES_EMBEDDING | STERNA_GAIN_LESS_ONE |
            STERNA_TIED_BY_DEFAULT,
     .gate = STERNA_GATE_GELU_TANH,
     .gguf_rope = STERNA_ROPE_HALVES,
     .default_window = 4096,
     .global_every = 2,
     .rope_base = 10000,
     .attention_soft_cap = 50,
     .logit_soft_cap = 30,
     .layers_scaled_by_width = 46},
    {.name = "gemma3",
     .gguf = {"gemma3"},
     .hf = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
     .model_type = {"gemma3_text", "gemma3"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_gemma_names,
     .has = STERNA_HAS_POST_NORMS | STERNA_HAS_QK_NORM | STERNA_SCALES_EMBEDDING |
            STERNA_GAIN_LESS_ONE | STERNA_TIED_BY_DEFAULT,
     .gate = STERNA_GATE_GELU_TANH,
     .gguf_rope = STERNA_ROPE_HALVES,
     .default_window = 4096,
     .global_every = 6,
     .rope_base = 1000000,
     .local_rope_base = 10000,
     .hf_default = {8, 4, 256, 262208, 131072, 1e-6f}, /* the 4B's file says only what differs */
     .layers_scaled_by_width = 62},
    {.name = "phi3",
     .gguf = {"phi3"},
     .hf = {"Phi3ForCausalLM"},
     .model_type = {"phi3"},
     .gguf_names = &gguf_fused_names,
     .hf_names = &hf_names,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_HALVES,
     .rope_base = 10000},
    /* b1.58 2B4T and its kin */
    {.name = "bitnet-b1.58",
     .gguf = {"bitnet-b1.58", "bitnet-25"},
     .hf = {"BitNetForCausalLM"},
     .model_type = {"bitnet"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .has = STERNA_HAS_SUB_NORMS | STERNA_INT8_TOKENS,
     .gate = STERNA_GATE_RELU2,
     .gguf_rope = STERNA_ROPE_HALVES,
     .rope_base = 500000},
    /* the first 3B reproduction, which kept SiLU */
    {.name = "bitnet",
     .gguf = {"bitnet"},
     .gguf_names = &gguf_names,
     .hf_names = &hf_names,
     .has = STERNA_HAS_SUB_NORMS | STERNA_INT8_TOKENS,
     .gate = STERNA_GATE_SILU,
     .gguf_rope = STERNA_ROPE_HALVES,
     .rope_base = 10000},
};
enum { FAMILIES = sizeof families / sizeof *families };

static bool listed(const char *const *list, size_t count, const char *name, size_t size)
{
    for (size_t i = 0; i < count && list[i]; i++)
        if (strlen(list[i]) == size && memcmp(list[i], name, size) == 0) return true;
    return false;
}

const sterna_family *sterna_family_by_gguf(const char *architecture, size_t size)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (listed(families[i].gguf, 4, architecture, size)) return &families[i];
    return NULL;
}

const sterna_family *sterna_family_by_hf(const char *architecture, const char *model_type)
{
    for (size_t i = 0; architecture && i < FAMILIES; i++)
        if (listed(families[i].hf, 3, architecture, strlen(architecture))) return &families[i];
    for (size_t i = 0; !architecture && model_type && i < FAMILIES; i++)
        if (listed(families[i].model_type, 3, model_type, strlen(model_type))) return &families[i];
    return NULL;
}

void sterna_family_list(sterna_container container, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < FAMILIES; i++) {
        const char *const *list = container == STERNA_GGUF ? families[i].gguf : families[i].hf;
        for (size_t j = 0; j < (container == STERNA_GGUF ? 4 : 3) && list[j] && used < size; j++) {
            int n = snprintf(text + used, size - used, "%s%s", used ? ", " : "", list[j]);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

const char *sterna_family_name(const sterna_family *family)
{
    return family->name;
}

const sterna_tensor_names *sterna_family_names(const sterna_family *family,
                                               sterna_container container)
{
    return container == STERNA_HF ? family->hf_names : family->gguf_names;
}

unsigned sterna_family_folds(const sterna_family *family)
{
    static const struct {
        unsigned has, forbids;
    } rules[] = {
        /* its gains stand between a product and the stream */
        {STERNA_HAS_POST_NORMS, STERNA_FOLD_RESIDUAL},
        /* its gains stand between the heads' values and the output projection */
        {STERNA_HAS_SUB_NORMS, STERNA_FOLD_HEADS},
        /* trained as trits with one scale: other weights are no trits */
        {STERNA_INT8_TOKENS, STERNA_FOLD_GAINS | STERNA_FOLD_RESIDUAL | STERNA_FOLD_HEADS}};
    unsigned folds = STERNA_FOLD_GAINS | STERNA_FOLD_RESIDUAL | STERNA_FOLD_HEADS;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (family->has & rules[i].has) folds &= ~rules[i].forbids;
    return folds;
}

bool sterna_gate_by_name(const char *name, sterna_gate *gate)
{
    static const struct {
        const char *name;
        sterna_gate gate;
    } known[] = {{"silu", STERNA_GATE_SILU},          {"swish", STERNA_GATE_SILU},
                 {"gelu", STERNA_GATE_GELU},          {"gelu_pytorch_tanh", STERNA_GATE_GELU_TANH},
                 {"gelu_new", STERNA_GATE_GELU_TANH}, {"relu2", STERNA_GATE_RELU2}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            *gate = known[i].gate;
            return true;
        }
    return false;
}
