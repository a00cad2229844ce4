/* formats/: safetensors, read and written; Hugging Face folders; llama2.c checkpoints. */
#include <math.h>

#include "formats_support.h"

/* ---- safetensors made by hand ---- */

static void safetensors(sterna_buffer *b, const char *json, size_t n)
{
    put(b, strlen(json), 8);
    sterna_buffer_add_text(b, json);
    put_noise(b, n);
}

static void save_safetensors(const char *path, const char *json, size_t n)
{
    sterna_buffer b = {0};
    safetensors(&b, json, n);
    save(path, &b);
    sterna_buffer_free(&b);
}

static void safetensors_survive_damage(void **state)
{
    (void)state;
    sterna_buffer b = {0};
    safetensors(&b,
                "{\"__metadata__\":{\"format\":\"pt\"},"
                "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                "\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[24,26]},"
                "\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[26,26]}}   ",
                26);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open_memory("m", b.data, b.size, NULL, &file, NULL),
                     STERNA_OK);
    assert_int_equal(file->container, STERNA_HF);
    assert_int_equal(file->n_tensors, 2);
    assert_int_equal(file->tensors[0].dims[0], 3);
    assert_int_equal(file->tensors[0].dims[1], 2);
    assert_int_equal(file->tensors[1].n_dims, 1);
    assert_int_equal(file->tensors[1].bytes, 2);
    sterna_model_file_close(file);
    truncate_everywhere(&b, 0);
    flip_everywhere(&b);
    sterna_buffer_free(&b);
}

static void safetensors_headers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t data;
        const char *words;
    } bad[] = {
        {"{} x", 0, "nothing behind"},
        {"{}{}", 0, "nothing behind"},
        {"{", 0, "entry at byte 1"},
        {"{\"a\"}", 0, "expected ':'"},
        {"{\"a\":1}", 0, "expected an object"},
        {"{\"a\":null}", 0, "expected an object"},
        {"{1:{}}", 0, "expected a name"},
        {"{\"a\":{}}", 0, "dtype"},
        {"{\"a\":{},}", 0, "dtype"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "strings"},
        {"{\"__metadata__\":[]}", 0, "an object"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "only once"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "4 bytes of data"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3,
         "do not lie within"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "gaps and overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
         "do not lie within"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "do not lie"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "make 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "integers from 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
         "integers from 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "\"shape\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e400]}}", 4,
         "entry at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.5]}}", 4, "two integers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two integers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "larger than any file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,4294967296,4294967296],"
         "\"data_offsets\":[0,0]}}",
         0, "larger than any file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
         "entry at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "duplicate"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "appears twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "gaps and overlaps"},
        {"{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "control"},
        {"{\"a\\u0000\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "entry at"},
        {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         "entry at byte 1"},
    };
    sterna_buffer b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        safetensors(&b, bad[i].json, bad[i].data);
        refuse(&b, STERNA_ERROR_FORMAT, bad[i].words);
    }
    safetensors(&b, "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    refuse(&b, STERNA_ERROR_UNSUPPORTED, "dtype F8_E4M3");
    safetensors(&b, "{}", 0);
    assert_int_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
    b.size = 7;
    save(in_folder("short.safetensors"), &b);
    refuse_path(in_folder("short.safetensors"), STERNA_ERROR_FORMAT, "ends inside");
    b.size = 0;
    put(&b, 100 * 1000 * 1000 + 1, 8);
    save(in_folder("short.safetensors"), &b);
    refuse_path(in_folder("short.safetensors"), STERNA_ERROR_LIMIT, "at most 100000000");
    b.size = 0;
    put(&b, 0, 8);
    save(in_folder("short.safetensors"), &b);
    refuse_path(in_folder("short.safetensors"), STERNA_ERROR_FORMAT, "expected '{'");
    unlink(in_folder("short.safetensors"));
    sterna_buffer_free(&b);
}

/* Depth, and an entry that is too long to be one. */
static void safetensors_deep(void **state)
{
    (void)state;
    sterna_buffer json = {0}, b = {0};
    sterna_buffer_add_text(&json, "{\"a\":");
    for (int i = 0; i < 60000; i++) sterna_buffer_add_char(&json, '[');
    safetensors(&b, json.data, 0);
    refuse(&b, STERNA_ERROR_FORMAT, "maximum parsing depth");
    sterna_buffer_clear(&json);
    sterna_buffer_add_text(&json, "{\"a\":[");
    for (int i = 0; i < 60000; i++) sterna_buffer_add_text(&json, "0,");
    sterna_buffer_add_text(&json, "0]}");
    safetensors(&b, json.data, 0);
    refuse(&b, STERNA_ERROR_FORMAT, "an entry may have 65536 bytes");
    sterna_buffer_free(&json);
}

/* Ten thousand entries stay quick and are all there; five dimensions fold into four. */
static void safetensors_many(void **state)
{
    (void)state;
    enum { N = 10000 };
    sterna_buffer json = {0}, b = {0};
    for (int i = 0; i < N; i++)
        sterna_buffer_format(&json,
                             "%c\"t%d\":{\"dtype\":\"I8\",\"shape\":[1,2,1,1,1],"
                             "\"data_offsets\":[%d,%d]}",
                             i ? ',' : '{', i, (N - 1 - i) * 2, (N - i) * 2);
    sterna_buffer_add_char(&json, '}');
    safetensors(&b, json.data, 2 * N);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open_memory("m", b.data, b.size, NULL, &file, NULL),
                     STERNA_OK);
    assert_int_equal(file->n_tensors, N);
    const sterna_tensor *t = sterna_model_file_find(file, "t9999");
    assert_int_equal(t->n_dims, 4);
    assert_int_equal(t->dims[3], 2);
    assert_ptr_equal(t->data, b.data + b.size - 2 * N);
    sterna_model_file_close(file);
    sterna_buffer_free(&json);
    sterna_buffer_free(&b);
}

static void safetensors_written(void **state)
{
    (void)state;
    static const sterna_type types[] = {STERNA_TYPE_F32, STERNA_TYPE_F16, STERNA_TYPE_BF16,
                                        STERNA_TYPE_I64, STERNA_TYPE_U8};
    const char *path = in_folder("written.safetensors");
    sterna_model_writer *w = NULL;
    sterna_error err;
    assert_int_equal(sterna_model_writer_open(path, &w, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_u32(w, "n", 1, &err), STERNA_ERROR_UNSUPPORTED);
    assert_int_equal(sterna_model_writer_meta_string(w, "say", "\"hi\"\n\\", 6, NULL), STERNA_OK);
    char names[5][16];
    for (int i = 0; i < 5; i++) {
        snprintf(names[i], sizeof names[i], "t\"\\%d", i);
        sterna_tensor t = {.name = names[i], .type = types[i], .n_dims = 2, .dims = {3, 2, 1, 1}};
        assert_int_equal(sterna_model_writer_declare(w, &t, NULL), STERNA_OK);
    }
    sterna_tensor ternary = {
        .name = "q", .type = STERNA_TYPE_TQ2_0, .n_dims = 1, .dims = {256, 1, 1, 1}};
    assert_int_equal(sterna_model_writer_declare(w, &ternary, &err), STERNA_ERROR_UNSUPPORTED);
    sterna_buffer noise = {0};
    put_noise(&noise, 64);
    for (int i = 0; i < 5; i++) {
        uint64_t size;
        assert_true(sterna_type_bytes(types[i], 3, 2, &size));
        assert_int_equal(sterna_model_writer_data(w, noise.data + i, size, NULL), STERNA_OK);
    }
    assert_int_equal(sterna_model_writer_commit(w, NULL), STERNA_OK);
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(path, NULL, &file, NULL), STERNA_OK);
    assert_int_equal(file->n_tensors, 5);
    for (int i = 0; i < 5; i++) {
        const sterna_tensor *t = sterna_model_file_find(file, names[i]);
        assert_non_null(t);
        assert_int_equal(t->type, types[i]);
        assert_int_equal(t->dims[0], 3);
        assert_memory_equal(t->data, noise.data + i, t->bytes);
    }
    sterna_model_file_close(file);
    unlink(path);
    assert_int_equal(sterna_model_writer_open(path, &w, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_meta_string(w, "bad", "\xff", 1, NULL), STERNA_OK);
    assert_int_equal(sterna_model_writer_commit(w, &err), STERNA_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'bad'"));
    assert_false(sterna_path_exists(path));
    sterna_buffer_free(&noise);
}

/* ---- folders ---- */

static const char TENSOR_A[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
static const char TENSOR_B[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";

static void clean_folder(void)
{
    assert_int_equal(remove_folder(NULL), 0);
    assert_int_equal(mkdir(test_folder, 0700), 0);
}

static void folders_hold_side_files(void **state)
{
    (void)state;
    clean_folder();
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "no config.json");
    save_text(in_folder("config.json"), "{\"model_type\":\"llama\"}");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "no .safetensors file");
    save_text(in_folder("pytorch_model.bin"), "PK\3\4");
    refuse_path(test_folder, STERNA_ERROR_UNSUPPORTED, "never opened");
    refuse_path(in_folder("pytorch_model.bin"), STERNA_ERROR_UNSUPPORTED, "never opened");
    save_safetensors(in_folder("odd.safetensors"), TENSOR_A, 2);
    save_text(in_folder("generation_config.json"), "{\"eos_token_id\":[1,2]}");
    save_text(in_folder("special_tokens_map.json"), "{\"eos_token\":\"x\"}");
    save_text(in_folder("tokenizer.json"), "{}");
    save_text(in_folder("tokenizer.model"), "x");
    save_text(in_folder("tokenizer_config.json"),
              "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"R\"},"
              "{\"name\":\"default\",\"template\":\"D\"}]}");
    const char *const paths[] = {test_folder, in_folder("odd.safetensors")};
    for (int i = 0; i < 2; i++) {
        sterna_model_file *file = NULL;
        assert_int_equal(sterna_model_file_open(paths[i], NULL, &file, NULL), STERNA_OK);
        assert_int_equal(file->n_tensors, 1);
        assert_string_equal(json_string_value(json_object_get(file->config, "model_type")),
                            "llama");
        assert_non_null(file->generation_config);
        assert_non_null(file->special_tokens_map);
        assert_string_equal(file->tokenizer_json_path, in_folder("tokenizer.json"));
        assert_string_equal(file->tokenizer_model_path, in_folder("tokenizer.model"));
        assert_string_equal(file->chat_template, "D");
        sterna_model_file_close(file);
    }
    open_without_memory(test_folder);
    static const struct {
        const char *name, *text, *expected;
    } templates[] = {
        {"tokenizer_config.json", "{\"chat_template\":\"T\"}", "T"},
        {"chat_template.json", "{\"chat_template\":\"J\"}", "J"},
        {"chat_template.jinja", "{{ x }}", "{{ x }}"},
    };
    for (int i = 0; i < 3; i++) {
        save_text(in_folder(templates[i].name), templates[i].text);
        sterna_model_file *file = NULL;
        assert_int_equal(sterna_model_file_open(test_folder, NULL, &file, NULL), STERNA_OK);
        assert_string_equal(file->chat_template, templates[i].expected);
        sterna_model_file_close(file);
    }
    save_text(in_folder("generation_config.json"), "{\"eos_token_id\":");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "generation_config.json: line 1");
    save_text(in_folder("generation_config.json"), "[]");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "expected a JSON object");
    unlink(in_folder("generation_config.json"));
    save_safetensors(in_folder("more.safetensors"), TENSOR_B, 2);
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "2 .safetensors files");
}

static void write_index(const char *map)
{
    sterna_buffer b = {0};
    sterna_buffer_format(&b, "{\"metadata\":{\"total_size\":4},\"weight_map\":%s}", map);
    save(in_folder("model.safetensors.index.json"), &b);
    sterna_buffer_free(&b);
}

static void shards(void **state)
{
    (void)state;
    const char *a = "model-00001-of-00002.safetensors", *b = "model-00002-of-00002.safetensors";
    clean_folder();
    save_text(in_folder("config.json"), "{}");
    save_safetensors(in_folder(a), TENSOR_A, 2);
    save_safetensors(in_folder(b), TENSOR_B, 2);
    write_index("{\"a\":\"model-00001-of-00002.safetensors\","
                "\"b\":\"model-00002-of-00002.safetensors\"}");
    const char *const paths[] = {test_folder, in_folder(a), in_folder(b)};
    for (int i = 0; i < 3; i++) { /* a shard opens the whole */
        sterna_model_file *file = NULL;
        assert_int_equal(sterna_model_file_open(paths[i], NULL, &file, NULL), STERNA_OK);
        assert_int_equal(file->n_tensors, 2);
        assert_true(touch_file(file));
        sterna_model_file_close(file);
    }
    open_without_memory(test_folder);
    static const char *const tricks[] = {
        "{\"a\":\"../x.safetensors\"}",
        "{\"a\":\"/etc/x.safetensors\"}",
        "{\"a\":\"..\"}",
        "{\"a\":\".x.safetensors\"}",
        "{\"a\":\"a/b.safetensors\"}",
        "{\"a\":\"model.bin\"}",
        "{\"a\":\".safetensors\"}",
        "{\"a\":7}",
        "{\"a\":\"\"}",
        "{\"a\":\"x\\n.safetensors\"}",
        "{\"a\":\"b\\\\x.safetensors\"}",
    };
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++) {
        write_index(tricks[i]);
        refuse_path(test_folder, STERNA_ERROR_FORMAT, "in the same folder");
    }
    write_index("{}");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "weight_map");
    write_index("[\"a\"]");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "weight_map");
    write_index("{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"gone.safetensors\"}");
    refuse_path(test_folder, STERNA_ERROR_IO, "gone.safetensors");
    write_index("{\"a\":\"model-00002-of-00002.safetensors\"}");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "says that 'a' is in");
    write_index("{\"a\":\"model-00001-of-00002.safetensors\","
                "\"b\":\"model-00001-of-00002.safetensors\"}");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "says that 'b' is in");
    save_safetensors(in_folder(b), TENSOR_A, 2);
    write_index("{\"a\":\"model-00001-of-00002.safetensors\","
                "\"b\":\"model-00002-of-00002.safetensors\"}");
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "appears twice");
}

/* ---- BitNet ---- */

static void write_bitnet(const char *linear, const char *scale, size_t scale_bytes, uint16_t value)
{
    sterna_buffer json = {0}, b = {0};
    sterna_buffer_format(&json, "{\"quantization_config\":{\"quant_method\":\"bitnet\"%s}}",
                         linear);
    save(in_folder("config.json"), &json);
    sterna_buffer_clear(&json);
    sterna_buffer_format(&json,
                         "{\"l.weight\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
                         "\"l.weight_scale\":{%s,\"data_offsets\":[6,%zu]},"
                         "\"n\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[%zu,%zu]}}",
                         scale, 6 + scale_bytes, 6 + scale_bytes, 10 + scale_bytes);
    put(&b, json.size, 8);
    sterna_buffer_add(&b, json.data, json.size);
    put_noise(&b, 6);
    put(&b, value, (int)scale_bytes);
    put_noise(&b, 4);
    save(in_folder("model.safetensors"), &b);
    sterna_buffer_free(&json);
    sterna_buffer_free(&b);
}

static void bitnet_weights_unite(void **state)
{
    (void)state;
    static const char bf16[] = "\"dtype\":\"BF16\",\"shape\":[1]";
    static const char f16[] = "\"dtype\":\"F16\",\"shape\":[]";
    static const struct {
        const char *linear, *scale;
        uint16_t value;
        float expected;
    } good[] = {
        {"", bf16, 0x4080, 0.25f}, /* 4 */
        {",\"linear_class\":\"bitlinear\"", f16, 0x4400, 0.25f},
        {",\"linear_class\":\"autobitlinear\"", bf16, 0x4080, 4},
    };
    clean_folder();
    for (int i = 0; i < 3; i++) {
        write_bitnet(good[i].linear, good[i].scale, 2, good[i].value);
        sterna_model_file *file = NULL;
        assert_int_equal(sterna_model_file_open(test_folder, NULL, &file, NULL), STERNA_OK);
        assert_int_equal(file->n_tensors, 2);
        const sterna_tensor *t = sterna_model_file_find(file, "l.weight");
        assert_int_equal(t->type, STERNA_TYPE_BITNET);
        assert_int_equal(t->dims[0], 3);
        assert_int_equal(t->dims[1], 8);
        assert_int_equal(t->bytes, 6);
        assert_true(t->scale == good[i].expected);
        assert_null(sterna_model_file_find(file, "l.weight_scale"));
        assert_int_equal(sterna_model_file_find(file, "n")->type, STERNA_TYPE_U8);
        assert_true(touch_file(file));
        sterna_model_file_close(file);
    }
    open_without_memory(test_folder);
    static const uint16_t bad[] = {0, 0x7f80, 0x7fc0, 0xc080, 0x0001}; /* 0, inf, NaN, -4, tiny */
    for (int i = 0; i < 5; i++) {
        write_bitnet("", bf16, 2, bad[i]);
        refuse_path(test_folder, STERNA_ERROR_FORMAT, "one positive finite number");
    }
    write_bitnet("", "\"dtype\":\"I16\",\"shape\":[1]", 2, 1);
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "one positive finite number");
    write_bitnet("", "\"dtype\":\"F16\",\"shape\":[2]", 4, 0x4400);
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "one positive finite number");
    write_bitnet(",\"linear_class\":\"other\"", bf16, 2, 0x4080);
    refuse_path(test_folder, STERNA_ERROR_UNSUPPORTED, "linear_class 'other'");
    save_text(in_folder("config.json"), "{\"quantization_config\":{\"quant_method\":\"gptq\"}}");
    refuse_path(test_folder, STERNA_ERROR_UNSUPPORTED, "quant_method 'gptq'");
    save_text(in_folder("config.json"), "{\"quantization_config\":{\"quant_method\":\"bitnet\"}}");
    save_safetensors(in_folder("model.safetensors"),
                     "{\"l.weight\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]}}", 6);
    refuse_path(test_folder, STERNA_ERROR_FORMAT, "'l.weight_scale' is missing");
}

/* ---- llama2.c ---- */

/* dim 4, hidden 6, 2 layers, 2 heads, 1 kv head, 5 tokens, 3 positions */
static void llama2c(sterna_buffer *b, bool tied, int version)
{
    const size_t layer = 4 + 4 * 4 + 2 * 4 * 2 + 4 * 4 + 4 + 3 * 4 * 6;
    if (version) {
        put(b, 0x616b3432, 4);
        put(b, (uint64_t)version, 4);
    }
    const int32_t fields[] = {4, 6, 2, 2, 1, version || tied ? 5 : -5, 3};
    for (int i = 0; i < 7; i++) put(b, (uint32_t)fields[i], 4);
    if (version) {
        put(b, tied, 1);
        while (b->size < 256) put(b, 0, 1);
    }
    size_t floats = 5 * 4 + 2 * layer + 4 + (version ? 0 : 3 * 2) + (tied ? 0 : 5 * 4);
    for (size_t i = 0; i < floats; i++) put(b, i, 4);
}

/* The tensor's first "float" is its place in the file, counted in floats. */
static void check_tensor(const sterna_model_file *file, const char *name, uint64_t cols,
                         uint64_t rows, uint32_t place)
{
    const sterna_tensor *t = sterna_model_file_find(file, name);
    assert_non_null(t);
    assert_int_equal(t->dims[0], cols);
    assert_int_equal(t->dims[1], rows);
    assert_int_equal(t->bytes, 4 * cols * rows);
    uint32_t first;
    memcpy(&first, t->data, 4);
    assert_int_equal(first, place);
}

static void llama2c_files(void **state)
{
    (void)state;
    clean_folder();
    const char *path = in_folder("stories.bin");
    for (int version = 0; version < 2; version++)
        for (int tied = 0; tied < 2; tied++) {
            sterna_buffer b = {0};
            llama2c(&b, tied, version);
            save(path, &b);
            if (version) save_text(in_folder("tokenizer.bin"), "x");
            sterna_model_file *file = NULL;
            assert_int_equal(sterna_model_file_open(path, NULL, &file, NULL), STERNA_OK);
            assert_int_equal(file->container, STERNA_LLAMA2C);
            assert_int_equal(file->n_tensors, 2 + 2 * 9 + !tied);
            assert_int_equal(file->llama2c.vocab_size, 5);
            assert_int_equal(file->llama2c.tied, tied);
            uint32_t v = (uint32_t)version;
            check_tensor(file, "token_embd.weight", 4, 5, v ? 20 : 0);
            check_tensor(file, "blk.1.attn_norm.weight", 4, 1, v ? 4 : 24);
            check_tensor(file, "blk.1.attn_q.weight", 4, 4, v ? 56 : 44);
            check_tensor(file, "blk.0.attn_k.weight", 4, 2, v ? 72 : 60);
            check_tensor(file, "blk.0.attn_v.weight", 4, 2, v ? 88 : 76);
            check_tensor(file, "blk.1.attn_output.weight", 4, 4, v ? 120 : 108);
            check_tensor(file, "blk.0.ffn_norm.weight", 4, 1, v ? 8 : 124);
            check_tensor(file, "blk.0.ffn_gate.weight", 4, 6, v ? 136 : 132);
            check_tensor(file, "blk.0.ffn_down.weight", 6, 4, v ? 184 : 180);
            check_tensor(file, "blk.1.ffn_up.weight", 4, 6, v ? 256 : 252);
            check_tensor(file, "output_norm.weight", 4, 1, v ? 16 : 276);
            if (!tied) check_tensor(file, "output.weight", 4, 5, v ? 280 : 286);
            if (version)
                assert_string_equal(file->tokenizer_model_path, in_folder("tokenizer.bin"));
            else
                assert_null(file->tokenizer_model_path);
            sterna_model_file_close(file);
            truncate_everywhere(&b, 0);
            flip_everywhere(&b);
            b.size += 1; /* one byte more: no longer explained by the header */
            assert_int_not_equal(open_bytes(b.data, b.size, NULL), STERNA_OK);
            unlink(in_folder("tokenizer.bin"));
            sterna_buffer_free(&b);
        }
    save_text(in_folder("tok5.bin"), "x"); /* comes before tokenizer.bin */
    save_text(in_folder("tokenizer.bin"), "x");
    sterna_model_file *file = NULL;
    assert_int_equal(sterna_model_file_open(path, NULL, &file, NULL), STERNA_OK);
    assert_string_equal(file->tokenizer_model_path, in_folder("tok5.bin"));
    sterna_model_file_close(file);
    open_without_memory(path);
    sterna_buffer b = {0};
    llama2c(&b, true, 2);
    refuse(&b, STERNA_ERROR_UNSUPPORTED, "llama2.c version 2");
}

static void llama2c_headers(void **state)
{
    (void)state;
    static const int32_t bad[][7] = {
        {0, 6, 2, 2, 1, 5, 3},
        {4, 6, 2, 0, 1, 5, 3},
        {4, 6, 2, 2, 0, 5, 3},
        {4, 6, 2, 3, 1, 5, 3},
        {4, 6, 2, 2, 1, 0, 3},
        {4, 6, 2, 2, 1, INT32_MIN, 3},
        {4, 6, INT32_MAX, 2, 1, 5, 3},
        {-4, 6, 2, 2, 1, 5, 3},
        {1 << 20, 1 << 20, 4096, 1, 1, 1 << 24, 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sterna_buffer b = {0};
        for (int k = 0; k < 7; k++) put(&b, (uint32_t)bad[i][k], 4);
        put_noise(&b, 1000);
        refuse(&b, STERNA_ERROR_FORMAT, "not a model file");
        put(&b, 0x616b3432, 4);
        put(&b, 1, 4);
        for (int k = 0; k < 7; k++) put(&b, (uint32_t)bad[i][k], 4);
        put_noise(&b, 1000);
        refuse(&b, STERNA_ERROR_FORMAT, "a llama2.c header");
    }
}

/* ---- no memory inside jansson ---- */

static void *json_alloc(size_t size)
{
    return sterna_alloc(size, 1);
}

static void folders_without_json_memory(void **state)
{
    (void)state;
    clean_folder();
    save_text(in_folder("config.json"), "{\"a\":[1,2.5,\"x\",true,null]}");
    save_safetensors(in_folder("model-00001-of-00001.safetensors"), TENSOR_A, 2);
    write_index("{\"a\":\"model-00001-of-00001.safetensors\"}");
    json_set_alloc_funcs(json_alloc, sterna_free);
    sterna_status status = STERNA_ERROR_MEMORY;
    for (long n = 0; status; n++) { /* jansson often calls it bad JSON: what counts is no leak */
        sterna_model_file *file = NULL;
        sterna_alloc_fail_after(n);
        status = sterna_model_file_open(test_folder, NULL, &file, NULL);
        sterna_alloc_fail_after(-1);
        assert_true(n < 10000 && (!file == !!status));
        sterna_model_file_close(file);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_survive_damage),
        cmocka_unit_test(safetensors_headers),
        cmocka_unit_test(safetensors_deep),
        cmocka_unit_test(safetensors_many),
        cmocka_unit_test(safetensors_written),
        cmocka_unit_test(folders_hold_side_files),
        cmocka_unit_test(shards),
        cmocka_unit_test(bitnet_weights_unite),
        cmocka_unit_test(llama2c_files),
        cmocka_unit_test(llama2c_headers),
        cmocka_unit_test(folders_without_json_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
