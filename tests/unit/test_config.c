/* model/config: what configurations say in their many spellings, and that every broken one is
 * refused with a sentence that names what is wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/writer.h"
#include "model/model.h"

/* ---- Hugging Face ---- */

static const char base_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64, \"intermediate_size\": 96,"
    " \"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    " \"vocab_size\": 320, \"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-5}";

/* The base configuration with the members of `changes`; a member that is "absent" is removed. */
static sterna_status read_hf(const char *changes, sterna_config *config, sterna_error *err)
{
    json_t *json = json_loads(base_config, 0, NULL), *patch = json_loads(changes, 0, NULL);
    assert_non_null(json);
    assert_non_null(patch);
    const char *key;
    json_t *value;
    json_object_foreach(patch, key, value)
    {
        const char *text = json_string_value(value);
        if (text && strcmp(text, "absent") == 0)
            json_object_del(json, key);
        else
            json_object_set(json, key, value);
    }
    char path[] = "model";
    const sterna_model_file file = {.container = STERNA_HF, .path = path, .config = json};
    memset(config, 0, sizeof *config);
    memset(err, 0, sizeof *err);
    sterna_status status = sterna_config_read(&file, config, err);
    json_decref(json);
    json_decref(patch);
    return status;
}

static void broken_json_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *changes, *sentence;
        sterna_status status;
    } cases[] = {
        {"{\"num_attention_heads\": 0}", "num_attention_heads 0", STERNA_ERROR_FORMAT},
        {"{\"num_hidden_layers\": 0}", "num_hidden_layers 0", STERNA_ERROR_FORMAT},
        {"{\"num_hidden_layers\": 1000000}", "num_hidden_layers", STERNA_ERROR_FORMAT},
        {"{\"hidden_size\": 2147483648}", "hidden_size", STERNA_ERROR_FORMAT},
        {"{\"hidden_size\": -64}", "hidden_size", STERNA_ERROR_FORMAT},
        {"{\"hidden_size\": 64.5}", "hidden_size", STERNA_ERROR_FORMAT},
        {"{\"hidden_size\": \"64\"}", "hidden_size", STERNA_ERROR_FORMAT},
        {"{\"hidden_size\": null}", "no 'hidden_size'", STERNA_ERROR_FORMAT},
        {"{\"vocab_size\": \"absent\"}", "no 'vocab_size'", STERNA_ERROR_FORMAT},
        {"{\"vocab_size\": 0}", "vocabulary size is 0", STERNA_ERROR_FORMAT},
        {"{\"max_position_embeddings\": 2147483648}", "max_position", STERNA_ERROR_FORMAT},
        {"{\"num_key_value_heads\": 3}", "share 3", STERNA_ERROR_FORMAT},
        {"{\"num_key_value_heads\": 0}", "key-value heads is 0", STERNA_ERROR_FORMAT},
        {"{\"head_dim\": 0}", "head size is 0", STERNA_ERROR_FORMAT},
        {"{\"head_dim\": 15}", "15, but rotary", STERNA_ERROR_FORMAT},
        {"{\"head_dim\": 100000}", "head_dim", STERNA_ERROR_FORMAT},
        {"{\"rms_norm_eps\": -1}", "epsilon", STERNA_ERROR_FORMAT},
        {"{\"rms_norm_eps\": 1e300}", "epsilon", STERNA_ERROR_FORMAT},
        {"{\"rms_norm_eps\": \"absent\"}", "rms_norm_eps", STERNA_ERROR_FORMAT},
        {"{\"rope_theta\": 0}", "rotary base is 0", STERNA_ERROR_FORMAT},
        {"{\"rope_theta\": 1e300}", "rotary base is inf", STERNA_ERROR_FORMAT},
        {"{\"rope_theta\": [1]}", "'rope_theta' is not a number", STERNA_ERROR_FORMAT},
        {"{\"partial_rotary_factor\": 0}", "partial_rotary_factor", STERNA_ERROR_FORMAT},
        {"{\"partial_rotary_factor\": 0.1}", "1 rotary values", STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"type\": \"su\"}}", "'su' is unknown", STERNA_ERROR_UNSUPPORTED},
        {"{\"rope_scaling\": {\"type\": \"linear\"}}", "no 'factor'", STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}}", "factor is 0",
         STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4,"
         " \"high_freq_factor\": 1, \"original_max_position_embeddings\": 64}}",
         "0 < low < high", STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4,"
         " \"original_max_position_embeddings\": 0}}",
         "original context length", STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4,"
         " \"short_factor\": [1, 2], \"long_factor\": [1, 2]}}",
         "short_factor", STERNA_ERROR_FORMAT},
        {"{\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4,"
         " \"short_factor\": [1,1,1,1,1,1,1,0], \"long_factor\": [1,1,1,1,1,1,1,1]}}",
         "rotary factor 7 is 0", STERNA_ERROR_FORMAT},
        {"{\"hidden_act\": \"xielu\"}", "'xielu' is unknown", STERNA_ERROR_UNSUPPORTED},
        {"{\"hidden_act\": 5}", "activation", STERNA_ERROR_UNSUPPORTED},
        {"{\"layer_types\": [\"full_attention\"]}", "list of 4", STERNA_ERROR_FORMAT},
        {"{\"layer_types\": [\"full_attention\",\"full_attention\",\"linear_attention\","
         "\"full_attention\"]}",
         "linear_attention", STERNA_ERROR_UNSUPPORTED},
        {"{\"layer_types\": [\"full_attention\",\"full_attention\",\"sliding_attention\","
         "\"full_attention\"]}",
         "'sliding_window' is missing", STERNA_ERROR_FORMAT},
        {"{\"architectures\": [\"MambaForCausalLM\"]}", "LlamaForCausalLM, MistralForCausalLM",
         STERNA_ERROR_UNSUPPORTED},
        {"{\"architectures\": [7]}", "architecture", STERNA_ERROR_UNSUPPORTED},
        {"{\"architectures\": \"absent\"}", "(not given)", STERNA_ERROR_UNSUPPORTED},
        {"{\"quantization_config\": {\"quant_method\": \"gptq\"}}", "'gptq'",
         STERNA_ERROR_UNSUPPORTED},
        {"{\"quantization_config\": {\"quant_method\": \"bitnet\", \"use_rms_norm\": true}}",
         "use_rms_norm", STERNA_ERROR_UNSUPPORTED},
        {"{\"query_pre_attn_scalar\": 0}", "attention scale", STERNA_ERROR_FORMAT},
        {"{\"final_logit_softcapping\": -3}", "logit soft cap", STERNA_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sterna_config config;
        sterna_error err;
        sterna_status status = read_hf(cases[i].changes, &config, &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].sentence))
            fail_msg("%s: %s: %s", cases[i].changes, sterna_status_name(status), err.message);
        assert_non_null(strstr(err.message, "model")); /* the file's name */
        assert_null(config.layers);
    }
}

static void spellings_agree(void **state)
{
    (void)state;
    sterna_config config;
    sterna_error err;
    /* transformers 4 and 5 */
    const char *const llama3[] = {
        "{\"rope_theta\": 500000, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
        " \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
        " \"original_max_position_embeddings\": 64}}",
        "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 500000, \"factor\": 8,"
        " \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
        " \"original_max_position_embeddings\": 64}}"};
    for (size_t i = 0; i < 2; i++) {
        if (read_hf(llama3[i], &config, &err)) fail_msg("%s", err.message);
        const sterna_rope_config *rope = &config.rope[STERNA_ROPE_GLOBAL];
        assert_int_equal(rope->scaling, STERNA_SCALING_LLAMA3);
        assert_true(rope->base == 500000 && rope->factor == 8 && rope->original_context == 64);
        assert_int_equal(rope->dims, 16);
        sterna_config_free(&config);
    }
    /* a language model inside a multimodal configuration; local layers with their own base */
    const char *const gemma[] = {
        "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"text_config\":"
        " {\"model_type\": \"gemma3_text\", \"hidden_size\": 64, \"intermediate_size\": 96,"
        " \"head_dim\": 16, \"num_key_value_heads\": 2,"
        " \"num_hidden_layers\": 7, \"num_attention_heads\": 4, \"vocab_size\": 320,"
        " \"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-6, \"sliding_window\": 16,"
        " \"query_pre_attn_scalar\": 64, \"rope_theta\": 1000000.0,"
        " \"rope_local_base_freq\": 10000.0,"
        " \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}}}",
        "{\"architectures\": [\"Gemma3ForCausalLM\"], \"num_hidden_layers\": 7,"
        " \"sliding_window\": 16, \"query_pre_attn_scalar\": 64, \"rope_parameters\":"
        " {\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 8, \"rope_theta\": 1e6},"
        " \"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 1e4}}}"};
    for (size_t i = 0; i < 2; i++) {
        if (read_hf(gemma[i], &config, &err)) fail_msg("%s", err.message);
        assert_true(config.rope[STERNA_ROPE_GLOBAL].base == 1e6f);
        assert_int_equal(config.rope[STERNA_ROPE_GLOBAL].scaling, STERNA_SCALING_LINEAR);
        assert_true(config.rope[STERNA_ROPE_LOCAL].base == 1e4f);
        assert_int_equal(config.rope[STERNA_ROPE_LOCAL].scaling, STERNA_SCALING_NONE);
        for (uint32_t l = 0; l < 7; l++) {
            assert_int_equal(config.layers[l].window, l == 5 ? 0 : 16);
            assert_int_equal(config.layers[l].rope,
                             l == 5 ? STERNA_ROPE_GLOBAL : STERNA_ROPE_LOCAL);
        }
        assert_true(config.attention_scale == 0.125f);
        assert_true(config.embedding_scale == 8);
        assert_true(config.norm_shift == 1);
        assert_int_equal(config.tying, STERNA_HEAD_TIED);
        sterna_config_free(&config);
    }
}

/* Gemma 3's files leave out what the 4B has. */
static void gemma3_may_say_little(void **state)
{
    (void)state;
    sterna_config config;
    sterna_error err;
    if (read_hf("{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"text_config\":"
                " {\"model_type\": \"gemma3_text\", \"hidden_size\": 2560, \"intermediate_size\":"
                " 10240, \"num_hidden_layers\": 34, \"sliding_window\": 1024, \"rope_scaling\":"
                " {\"rope_type\": \"linear\", \"factor\": 8}}}",
                &config, &err))
        fail_msg("%s", err.message);
    assert_int_equal(config.heads, 8);
    assert_int_equal(config.kv_heads, 4);
    assert_int_equal(config.head_dim, 256);
    assert_int_equal(config.vocabulary, 262208);
    assert_int_equal(config.context, 131072);
    assert_true(config.norm_eps == 1e-6f && config.attention_scale == 0.0625f);
    assert_true(config.rope[STERNA_ROPE_GLOBAL].base == 1e6f);
    assert_true(config.rope[STERNA_ROPE_LOCAL].base == 1e4f);
    sterna_config_free(&config);
}

static void windows_count_only_where_asked(void **state)
{
    (void)state;
    static const struct {
        const char *changes;
        uint32_t windows[4];
    } cases[] = {
        {"{\"sliding_window\": 32}", {32, 32, 32, 32}},
        {"{\"architectures\": [\"MistralForCausalLM\"]}", {4096, 4096, 4096, 4096}},
        {"{\"architectures\": [\"MistralForCausalLM\"], \"sliding_window\": null}", {0}},
        {"{\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 32,"
         " \"use_sliding_window\": false}",
         {0}},
        {"{\"architectures\": [\"Qwen2ForCausalLM\"], \"sliding_window\": 32,"
         " \"use_sliding_window\": true, \"max_window_layers\": 3}",
         {0, 0, 0, 32}},
        {"{\"architectures\": [\"Gemma2ForCausalLM\"], \"sliding_window\": 32}", {32, 0, 32, 0}},
        {"{\"architectures\": [\"Qwen3ForCausalLM\"], \"sliding_window\": 32,"
         " \"use_sliding_window\": true, \"layer_types\": [\"sliding_attention\","
         " \"full_attention\", \"full_attention\", \"sliding_attention\"]}",
         {32, 0, 0, 32}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sterna_config config;
        sterna_error err;
        if (read_hf(cases[i].changes, &config, &err)) fail_msg("%s", err.message);
        for (uint32_t l = 0; l < 4; l++)
            assert_int_equal(config.layers[l].window, cases[i].windows[l]);
        sterna_config_free(&config);
    }
    /* every fourth layer of SmolLM3 does not rotate */
    sterna_config config;
    sterna_error err;
    if (read_hf("{\"architectures\": [\"SmolLM3ForCausalLM\"]}", &config, &err))
        fail_msg("%s", err.message);
    for (uint32_t l = 0; l < 4; l++)
        assert_int_equal(config.layers[l].rope, l == 3 ? STERNA_ROPE_ABSENT : STERNA_ROPE_GLOBAL);
    sterna_config_free(&config);
}

/* ---- GGUF: a golden model with one key changed ---- */

typedef struct change {
    const char *key;
    char type; /* u, f, s; n: a list of two numbers; x: the key is dropped */
    uint32_t u;
    float f;
    const char *s;
} change;

static void write_changed(const char *path, const change *want)
{
    sterna_error err = {0};
    sterna_model_file *file = NULL;
    sterna_model_writer *writer = NULL;
    char from[600];
    snprintf(from, sizeof from, "%s/models/llama/model.gguf", TEST_DATA);
    if (sterna_model_file_open(from, NULL, &file, &err)) fail_msg("%s", err.message);
    assert_int_equal(sterna_model_writer_open(path, &writer, &err), STERNA_OK);
    for (size_t i = 0; i < file->n_meta; i++) {
        sterna_text key = file->meta[i].key;
        if (strlen(want->key) == key.size && !memcmp(want->key, key.data, key.size)) continue;
        assert_int_equal(sterna_model_writer_copy_meta(writer, &file->meta[i], &err), STERNA_OK);
    }
    const int32_t two[] = {2, 4};
    sterna_status status =
        want->type == 'u'   ? sterna_model_writer_meta_u32(writer, want->key, want->u, &err)
        : want->type == 'f' ? sterna_model_writer_meta_float(writer, want->key, want->f, &err)
        : want->type == 'n' ? sterna_model_writer_meta_i32s(writer, want->key, two, 2, &err)
        : want->type == 's'
            ? sterna_model_writer_meta_string(writer, want->key, want->s, strlen(want->s), &err)
            : STERNA_OK;
    assert_int_equal(status, STERNA_OK);
    for (size_t i = 0; i < file->n_tensors; i++)
        assert_int_equal(sterna_model_writer_declare(writer, &file->tensors[i], &err), STERNA_OK);
    for (size_t i = 0; i < file->n_tensors; i++)
        assert_int_equal(
            sterna_model_writer_data(writer, file->tensors[i].data, file->tensors[i].bytes, &err),
            STERNA_OK);
    if (sterna_model_writer_commit(writer, &err)) fail_msg("%s", err.message);
    sterna_model_file_close(file);
}

static void broken_metadata_is_refused(void **state)
{
    (void)state;
    static const struct {
        change change;
        const char *sentence;
    } cases[] = {
        {{"general.architecture", 's', 0, 0, "mamba"}, "'mamba'"},
        {{"general.architecture", 's', 0, 0, ""}, "architecture"},
        {{"general.architecture", 'x', 0, 0, NULL}, "general.architecture"},
        {{"general.architecture", 'u', 7, 0, NULL}, "general.architecture"},
        {{"llama.block_count", 'x', 0, 0, NULL}, "llama.block_count"},
        {{"llama.block_count", 'u', 0, 0, NULL}, "llama.block_count"},
        {{"llama.block_count", 'u', 1000000, 0, NULL}, "llama.block_count"},
        {{"llama.embedding_length", 'u', 0x80000000u, 0, NULL}, "llama.embedding_length"},
        {{"llama.attention.head_count", 'u', 0, 0, NULL}, "head_count"},
        {{"llama.attention.head_count", 'n', 0, 0, NULL}, "differs between layers"},
        {{"llama.attention.head_count_kv", 'u', 0, 0, NULL}, "key-value heads is 0"},
        {{"llama.attention.head_count_kv", 'u', 3, 0, NULL}, "share 3"},
        {{"llama.attention.key_length", 'u', 15, 0, NULL}, "15"},
        {{"llama.attention.value_length", 'u', 2, 0, NULL}, "values of 2"},
        {{"llama.feed_forward_length", 'n', 0, 0, NULL}, "configuration says"},
        {{"llama.feed_forward_length", 'u', 0, 0, NULL}, "llama.feed_forward_length"},
        {{"llama.context_length", 'u', 0x80000000u, 0, NULL}, "llama.context_length"},
        {{"llama.vocab_size", 'u', 7, 0, NULL}, "vocab_size' is 7"},
        {{"llama.rope.freq_base", 'f', 0, 0, NULL}, "rotary base is 0"},
        {{"llama.rope.freq_base", 'f', 0, NAN, NULL}, "llama.rope.freq_base"},
        {{"llama.rope.dimension_count", 'u', 5, 0, NULL}, "5 rotary values"},
        {{"llama.rope.dimension_count", 'u', 100000, 0, NULL}, "rope.dimension_count"},
        {{"llama.rope.scaling.type", 's', 0, 0, "su"}, "'su' is unknown"},
        {{"llama.rope.scaling.factor", 'f', 0, -2, NULL}, "scaling factor is -2"},
        {{"llama.attention.layer_norm_rms_epsilon", 'f', 0, NAN, NULL}, "epsilon"},
        {{"llama.attention.layer_norm_rms_epsilon", 's', 0, 0, "1e-5"}, "epsilon"},
        {{"llama.expert_count", 'u', 8, 0, NULL}, "8 experts"},
        {{"prism.hadamard.version", 'u', 2, 0, NULL}, "version 2"},
        {{"prism.hadamard.flavour", 'u', 1, 0, NULL}, "prism.hadamard.flavour"},
    };
    char path[] = "/tmp/sterna_test_config_XXXXXX.gguf";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_changed(path, &cases[i].change);
        sterna_error err = {0};
        sterna_model_file *file = NULL;
        sterna_device *device = NULL;
        sterna_decoder *decoder = NULL;
        if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
        const sterna_cpu_options cpu = {.threads = 1};
        assert_int_equal(sterna_device_cpu_open(&cpu, &device, &err), STERNA_OK);
        sterna_status status = sterna_decoder_load(file, device, NULL, &decoder, &err);
        if (status == STERNA_OK || !strstr(err.message, cases[i].sentence))
            fail_msg("%s: %s: %s", cases[i].change.key, sterna_status_name(status), err.message);
        assert_non_null(strstr(err.message, path));
        device->close(device);
        sterna_model_file_close(file);
    }
    unlink(path);
}

/* A file with BitNet's own type runs as it was trained, whatever its architecture. */
static void bitnet_files_take_a_scale_per_token(void **state)
{
    (void)state;
    sterna_error err = {0};
    sterna_model_file *file = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/models/llama/model.gguf", TEST_DATA);
    if (sterna_model_file_open(path, NULL, &file, &err)) fail_msg("%s", err.message);
    sterna_config config = {0};
    assert_int_equal(sterna_config_read(file, &config, &err), STERNA_OK);
    assert_int_equal(config.activation, STERNA_ACT_AUTO);
    sterna_config_free(&config);

    sterna_tensor *tensors = sterna_alloc(file->n_tensors, sizeof *tensors);
    assert_non_null(tensors);
    memcpy(tensors, file->tensors, file->n_tensors * sizeof *tensors);
    tensors[file->n_tensors - 1].type = STERNA_TYPE_I2_S;
    sterna_model_file bitnet = *file;
    bitnet.tensors = tensors;
    assert_int_equal(sterna_config_read(&bitnet, &config, &err), STERNA_OK);
    assert_int_equal(config.activation, STERNA_ACT_INT8_TOKEN);
    sterna_config_free(&config);
    sterna_free(tensors);
    sterna_model_file_close(file);
}

/* ---- rotary frequencies against figures worked out by hand ---- */

static void frequencies_scale(void **state)
{
    (void)state;
    sterna_rope_config rope = {.base = 10000, .dims = 8, .attention_factor = 1};
    float out[4], scale;
    sterna_rope_frequencies(&rope, 10, out, &scale);
    const float plain[] = {1, 0.1f, 0.01f, 0.001f};
    for (int i = 0; i < 4; i++) assert_true(fabsf(out[i] - plain[i]) < 1e-7f);
    assert_true(scale == 1);

    rope.scaling = STERNA_SCALING_LINEAR;
    rope.factor = 4;
    sterna_rope_frequencies(&rope, 10, out, &scale);
    for (int i = 0; i < 4; i++) assert_true(fabsf(out[i] - plain[i] / 4) < 1e-7f);

    /* twice as long at factor 2: the base grows by (2 * 2 - 1)^(8/6) */
    rope.scaling = STERNA_SCALING_DYNAMIC;
    rope.factor = 2;
    rope.original_context = 100;
    sterna_rope_frequencies(&rope, 100, out, &scale);
    assert_true(fabsf(out[1] - 0.1f) < 1e-7f);
    sterna_rope_frequencies(&rope, 200, out, &scale);
    assert_true(fabs((double)out[3] - pow(10000 * pow(3, 8 / 6.0), -0.75)) < 1e-9);

    float divisors[] = {1, 2, 4, 8}, long_divisors[] = {2, 2, 2, 2};
    rope.scaling = STERNA_SCALING_LONGROPE;
    rope.divisors = divisors;
    rope.long_divisors = long_divisors;
    rope.attention_factor = 1.25f;
    sterna_rope_frequencies(&rope, 100, out, &scale);
    assert_true(fabsf(out[2] - 0.0025f) < 1e-8f && scale == 1.25f);
    sterna_rope_frequencies(&rope, 101, out, &scale);
    assert_true(fabsf(out[2] - 0.005f) < 1e-8f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_json_is_refused),
        cmocka_unit_test(spellings_agree),
        cmocka_unit_test(gemma3_may_say_little),
        cmocka_unit_test(windows_count_only_where_asked),
        cmocka_unit_test(broken_metadata_is_refused),
        cmocka_unit_test(bitnet_files_take_a_scale_per_token),
        cmocka_unit_test(frequencies_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
