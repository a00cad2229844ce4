/* SentencePiece's .model: a protobuf (ModelProto). Only the fields that decide how text is encoded
 * are read; wire format and field numbers are those of sentencepiece_model.proto. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "text/load_internal.h"

/* One field of a message. */
typedef struct field {
    uint32_t number;
    uint64_t value;    /* varint or fixed */
    sterna_text bytes; /* length-delimited */
} field;

static uint64_t varint(sterna_cursor *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = sterna_cursor_u8(in);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    in->failed = true;
    return 0;
}

/* The next field; false at the end or when the message is broken (in->failed tells). */
static bool next_field(sterna_cursor *in, field *out)
{
    if (in->failed || !sterna_cursor_left(in)) return false;
    uint64_t tag = varint(in);
    *out = (field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0: out->value = varint(in); break;
    case 1: out->value = sterna_cursor_u64(in); break;
    case 5: out->value = sterna_cursor_u32(in); break;
    case 2: {
        uint64_t size = varint(in);
        const uint8_t *bytes = sterna_cursor_bytes(in, size);
        out->bytes = (sterna_text){(const char *)bytes, bytes ? (size_t)size : 0};
        break;
    }
    default: in->failed = true;
    }
    return !in->failed;
}

static sterna_cursor inside(sterna_text bytes)
{
    return (sterna_cursor){.data = (const uint8_t *)bytes.data, .size = bytes.size};
}

typedef struct proto {
    size_t n_pieces;
    int64_t model_type; /* 1 unigram, 2 BPE, 3 word, 4 char */
    int32_t bos, eos, unk, pad;
    bool byte_fallback, suffix;
    bool add_prefix, remove_extra, escape;
    sterna_text charsmap;
} proto;

static void read_trainer(sterna_text bytes, proto *out, bool *failed)
{
    sterna_cursor in = inside(bytes);
    field f;
    while (next_field(&in, &f)) {
        switch (f.number) {
        case 3: out->model_type = (int64_t)f.value; break;
        case 24: out->suffix = f.value != 0; break;
        case 35: out->byte_fallback = f.value != 0; break;
        case 40: out->unk = (int32_t)f.value; break;
        case 41: out->bos = (int32_t)f.value; break;
        case 42: out->eos = (int32_t)f.value; break;
        case 43: out->pad = (int32_t)f.value; break;
        default: break;
        }
    }
    *failed |= in.failed;
}

static void read_normalizer(sterna_text bytes, proto *out, bool *failed)
{
    sterna_cursor in = inside(bytes);
    field f;
    while (next_field(&in, &f)) {
        switch (f.number) {
        case 2: out->charsmap = f.bytes; break;
        case 3: out->add_prefix = f.value != 0; break;
        case 4: out->remove_extra = f.value != 0; break;
        case 5: out->escape = f.value != 0; break;
        default: break;
        }
    }
    *failed |= in.failed;
}

static bool read_proto(const void *bytes, size_t size, proto *out)
{
    *out = (proto){.model_type = 1,
                   .bos = 1,
                   .eos = 2,
                   .pad = -1,
                   .add_prefix = true,
                   .remove_extra = true,
                   .escape = true};
    sterna_cursor in = {.data = bytes, .size = size};
    bool failed = false;
    field f;
    while (next_field(&in, &f)) {
        if (f.number == 1) out->n_pieces++;
        if (f.number == 2) read_trainer(f.bytes, out, &failed);
        if (f.number == 3) read_normalizer(f.bytes, out, &failed);
    }
    return !failed && !in.failed && out->n_pieces > 0;
}

static sterna_status set_pieces(sterna_tokenizer *t, const void *bytes, size_t size,
                                sterna_error *err)
{
    sterna_cursor in = {.data = bytes, .size = size};
    size_t id = 0;
    field f, part;
    while (next_field(&in, &f)) {
        if (f.number != 1) continue;
        sterna_cursor piece = inside(f.bytes);
        sterna_text text = {"", 0};
        float score = 0;
        int type = STERNA_TOKEN_NORMAL;
        while (next_field(&piece, &part)) {
            uint32_t bits = (uint32_t)part.value;
            if (part.number == 1 && part.bytes.data) text = part.bytes;
            if (part.number == 2) memcpy(&score, &bits, sizeof score);
            if (part.number == 3 && part.value <= STERNA_TOKEN_BYTE) type = (int)part.value;
        }
        if (piece.failed)
            return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: piece %zu is cut off", t->name, id);
        sterna_status status = sterna_tokenizer_set(t, id, text, type, (double)score, err);
        if (status) return status;
        /* user-defined pieces hold U+2581 for spaces, so they are found in normalised text */
        sterna_added added = {.id = (int32_t)id,
                              .special = type != STERNA_TOKEN_USER_DEFINED,
                              .normalized = type == STERNA_TOKEN_USER_DEFINED};
        if (text.size && (type == STERNA_TOKEN_CONTROL || type == STERNA_TOKEN_USER_DEFINED))
            status = sterna_tokenizer_add(t, added, err);
        if (status) return status;
        id++;
    }
    return STERNA_OK;
}

static sterna_status add_decoder(sterna_tokenizer *t, const proto *model, sterna_error *err)
{
    const sterna_text metaspace = {"\xe2\x96\x81", 3}, space = {" ", 1};
    sterna_decode_step steps[] = {
        {.kind = STERNA_DECODE_BYTE_FALLBACK},
        {.kind = STERNA_DECODE_REPLACE, .pattern = metaspace, .content = space},
        {.kind = STERNA_DECODE_STRIP_TEXT, .content = space, .left = 1}};
    size_t count = model->add_prefix && !model->suffix ? 3 : 2;
    for (size_t i = 0; i < count; i++) {
        sterna_status status = sterna_tokenizer_decode_step(t, steps[i], err);
        if (status) return status;
    }
    return STERNA_OK;
}

static void set_role(sterna_tokenizer *t, sterna_token_role role, int32_t id)
{
    if (id >= 0 && (size_t)id < t->n_tokens) t->roles[role] = id;
}

static sterna_status build(sterna_tokenizer *t, const proto *model, sterna_error *err)
{
    bool bpe = model->model_type == 2;
    set_role(t, STERNA_TOKEN_BOS, model->bos);
    set_role(t, STERNA_TOKEN_EOS, model->eos);
    set_role(t, STERNA_TOKEN_UNK, model->unk);
    set_role(t, STERNA_TOKEN_PAD, model->pad);
    t->model.kind = bpe ? STERNA_MODEL_SPAN_BPE : STERNA_MODEL_UNIGRAM;
    t->model.byte_fallback = model->byte_fallback;
    t->model.fuse_unknown = true;
    t->model.single_precision = true;
    sterna_normalize_step step = {.kind = STERNA_NORMALIZE_SENTENCEPIECE,
                                  .add_prefix = model->add_prefix,
                                  .remove_extra = model->remove_extra,
                                  .escape = model->escape,
                                  .suffix = model->suffix};
    sterna_status status = sterna_charsmap_load(&t->charsmap, model->charsmap.data,
                                                model->charsmap.size, t->name, err);
    if (!status) status = sterna_tokenizer_normalize(t, step, err);
    if (!status) status = add_decoder(t, model, err);
    if (!status) status = sterna_tokenizer_index(t, err);
    if (!status && !bpe) status = sterna_tokenizer_make_unigram(t, err);
    if (status) return status;
    /* the file does not say what is put around a text: as its kind's models do it (Llama, T5) */
    t->add_bos = bpe && t->roles[STERNA_TOKEN_BOS] >= 0;
    t->add_eos = !bpe && t->roles[STERNA_TOKEN_EOS] >= 0;
    if (t->add_bos) sterna_ids_add(&t->prefix, t->roles[STERNA_TOKEN_BOS]);
    if (t->add_eos) sterna_ids_add(&t->suffix, t->roles[STERNA_TOKEN_EOS]);
    snprintf(t->description, sizeof t->description, "SentencePiece %s", bpe ? "BPE" : "unigram");
    return sterna_tokenizer_finish(t, err);
}

sterna_status sterna_tokenizer_from_sentencepiece(const char *name, const void *bytes, size_t size,
                                                  sterna_tokenizer **out, sterna_error *err)
{
    sterna_tokenizer *t = NULL;
    proto model;
    if (!read_proto(bytes, size, &model))
        return sterna_fail(err, STERNA_ERROR_FORMAT,
                           "%s: not a SentencePiece model, or cut off (its protobuf does not end "
                           "where the file does)",
                           name);
    if (model.model_type != 1 && model.model_type != 2)
        return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                           "%s: SentencePiece model type %lld is not known; BPE and unigram are",
                           name, (long long)model.model_type);
    sterna_status status = sterna_tokenizer_new(name, model.n_pieces, &t, err);
    if (!status) status = set_pieces(t, bytes, size, err);
    if (!status) status = build(t, &model, err);
    if (status) {
        sterna_tokenizer_free(t);
        return status;
    }
    *out = t;
    return STERNA_OK;
}
