/* The normalizer, pre-tokenizer, decoder and post-processor sections of a tokenizer.json, as steps
 * of a tokenizer. A type that is not known is refused by name. */
#include <string.h>

#include "base/memory.h"
#include "text/load_internal.h"

enum { MAX_NESTING = 16 };

static const char metaspace[] = "\xe2\x96\x81";

sterna_text sterna_json_text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value)
               ? (sterna_text){json_string_value(value), json_string_length(value)}
               : (sterna_text){NULL, 0};
}

bool sterna_json_flag(const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static const char *type_of(const json_t *section)
{
    const char *type = json_string_value(json_object_get(section, "type"));
    return type ? type : "";
}

static sterna_status unsupported(const sterna_tokenizer *t, const char *section, const char *type,
                                 sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                       "%s: the %s '%.64s' is of a kind that this version does not know", t->name,
                       section, type);
}

static sterna_status malformed(const sterna_tokenizer *t, const char *section, const char *type,
                               const char *expected, sterna_error *err)
{
    return sterna_fail(err, STERNA_ERROR_FORMAT, "%s: the %s '%.64s' lacks %s", t->name, section,
                       type, expected);
}

/* Calls `each` for the sections of a Sequence. */
static sterna_status
sequence(sterna_tokenizer *t, const json_t *list, int depth, const char *section,
         sterna_status (*each)(sterna_tokenizer *, const json_t *, int, sterna_error *),
         sterna_error *err)
{
    if (!json_is_array(list)) return malformed(t, section, "Sequence", "its list", err);
    if (depth >= MAX_NESTING)
        return sterna_fail(err, STERNA_ERROR_LIMIT, "%s: the %s is nested more than %d deep",
                           t->name, section, (int)MAX_NESTING);
    for (size_t i = 0; i < json_array_size(list); i++) {
        sterna_status status = each(t, json_array_get(list, i), depth + 1, err);
        if (status) return status;
    }
    return STERNA_OK;
}

static sterna_text keep(sterna_tokenizer *t, sterna_text text)
{
    return sterna_tokenizer_keep(t, text.data, text.size);
}

/* A "pattern": {"String": ...} or {"Regex": ...}. */
static sterna_status pattern_of(sterna_tokenizer *t, const json_t *section, sterna_text *string,
                                sterna_text *regex)
{
    const json_t *pattern = json_object_get(section, "pattern");
    *string = sterna_json_text(pattern, "String");
    *regex = sterna_json_text(pattern, "Regex");
    if (json_is_string(pattern)) *string = sterna_json_text(section, "pattern");
    (void)t;
    return string->data || regex->data ? STERNA_OK : STERNA_ERROR_FORMAT;
}

static sterna_status compile(const sterna_tokenizer *t, sterna_text pattern, sterna_regex **regex,
                             sterna_error *err)
{
    sterna_status status = sterna_regex_new(pattern.data, pattern.size, false, regex, err);
    if (status) sterna_fail_prefix(err, "%s", t->name);
    return status;
}

/* ---- normalizer ---- */

static sterna_status precompiled(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    sterna_text text = sterna_json_text(section, "precompiled_charsmap");
    sterna_buffer bytes = {0};
    sterna_status status = STERNA_OK;
    if (t->charsmap.n_units) {
        status = sterna_fail(err, STERNA_ERROR_UNSUPPORTED,
                             "%s: more than one normalizer 'Precompiled'", t->name);
    } else if (!text.size) {
        return STERNA_OK; /* no rules: nothing to do */
    } else if (!sterna_base64(text.data, text.size, &bytes)) {
        status = bytes.failed ? sterna_fail_memory(err, "a character map")
                              : malformed(t, "normalizer", "Precompiled", "valid base64", err);
    } else {
        status = sterna_charsmap_load(&t->charsmap, bytes.data, bytes.size, t->name, err);
    }
    sterna_buffer_free(&bytes);
    if (status) return status;
    return sterna_tokenizer_normalize(t, (sterna_normalize_step){.kind = STERNA_NORMALIZE_CHARSMAP},
                                      err);
}

/* What a Replace step of either pipeline says: a pattern that is text or a regex, and the content.
 */
static sterna_status replace_of(sterna_tokenizer *t, const char *part, const json_t *section,
                                sterna_text *pattern, sterna_text *content, sterna_regex **regex,
                                sterna_error *err)
{
    sterna_text string, expression, with = sterna_json_text(section, "content");
    if (pattern_of(t, section, &string, &expression) || !with.data)
        return malformed(t, part, "Replace", "a pattern or its content", err);
    *content = keep(t, with);
    if (!string.data) return compile(t, expression, regex, err);
    *pattern = keep(t, string);
    return STERNA_OK;
}

static sterna_status replacement(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    sterna_normalize_step step = {.kind = STERNA_NORMALIZE_REPLACE};
    sterna_status status =
        replace_of(t, "normalizer", section, &step.pattern, &step.content, &step.regex, err);
    return status ? status : sterna_tokenizer_normalize(t, step, err);
}

static sterna_normalize_step bert_step(const json_t *section)
{
    bool lower = sterna_json_flag(section, "lowercase", true);
    return (sterna_normalize_step){.kind = STERNA_NORMALIZE_BERT,
                                   .clean = sterna_json_flag(section, "clean_text", true),
                                   .cjk = sterna_json_flag(section, "handle_chinese_chars", true),
                                   .lower = lower,
                                   .strip_accents =
                                       sterna_json_flag(section, "strip_accents", lower)};
}

static sterna_status normalizer(sterna_tokenizer *t, const json_t *section, int depth,
                                sterna_error *err)
{
    static const struct {
        const char *type;
        sterna_normalize_step step;
    } simple[] = {
        {"NFC", {.kind = STERNA_NORMALIZE_FORM, .form = STERNA_NFC}},
        {"NFD", {.kind = STERNA_NORMALIZE_FORM, .form = STERNA_NFD}},
        {"NFKC", {.kind = STERNA_NORMALIZE_FORM, .form = STERNA_NFKC}},
        {"NFKD", {.kind = STERNA_NORMALIZE_FORM, .form = STERNA_NFKD}},
        {"Lowercase", {.kind = STERNA_NORMALIZE_LOWERCASE}},
        {"StripAccents", {.kind = STERNA_NORMALIZE_STRIP_MARKS}},
        {"Nmt", {.kind = STERNA_NORMALIZE_NMT}},
        {"ByteLevel", {.kind = STERNA_NORMALIZE_BYTES}},
    };
    if (json_is_null(section)) return STERNA_OK;
    const char *type = type_of(section);
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
        if (strcmp(type, simple[i].type) == 0)
            return sterna_tokenizer_normalize(t, simple[i].step, err);
    if (strcmp(type, "Sequence") == 0)
        return sequence(t, json_object_get(section, "normalizers"), depth, "normalizer", normalizer,
                        err);
    if (strcmp(type, "BertNormalizer") == 0)
        return sterna_tokenizer_normalize(t, bert_step(section), err);
    if (strcmp(type, "Replace") == 0) return replacement(t, section, err);
    if (strcmp(type, "Precompiled") == 0) return precompiled(t, section, err);
    if (strcmp(type, "Strip") == 0) {
        sterna_normalize_step step = {.kind = STERNA_NORMALIZE_STRIP,
                                      .left = sterna_json_flag(section, "strip_left", true),
                                      .right = sterna_json_flag(section, "strip_right", true)};
        return sterna_tokenizer_normalize(t, step, err);
    }
    if (strcmp(type, "Prepend") == 0) {
        sterna_text content = sterna_json_text(section, "prepend");
        if (!content.data) return malformed(t, "normalizer", type, "what to prepend", err);
        return sterna_tokenizer_normalize(
            t,
            (sterna_normalize_step){.kind = STERNA_NORMALIZE_PREPEND, .content = keep(t, content)},
            err);
    }
    return unsupported(t, "normalizer", type, err);
}

sterna_status sterna_json_normalizer(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    return section ? normalizer(t, section, 0, err) : STERNA_OK;
}

/* ---- pre-tokenizer ---- */

static bool behaviour_of(const json_t *section, sterna_behaviour otherwise, sterna_behaviour *out)
{
    static const struct {
        const char *name;
        sterna_behaviour behaviour;
    } names[] = {{"Isolated", STERNA_ISOLATED},
                 {"Removed", STERNA_REMOVED},
                 {"MergedWithPrevious", STERNA_MERGED_WITH_PREVIOUS},
                 {"MergedWithNext", STERNA_MERGED_WITH_NEXT},
                 {"Contiguous", STERNA_CONTIGUOUS}};
    const char *name = json_string_value(json_object_get(section, "behavior"));
    *out = otherwise;
    if (!name) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].behaviour;
            return true;
        }
    }
    return false;
}

static sterna_status split_at(sterna_tokenizer *t, sterna_matcher matcher,
                              sterna_behaviour behaviour, sterna_error *err)
{
    return sterna_tokenizer_split(
        t, (sterna_split_step){.kind = STERNA_SPLIT, .matcher = matcher, .behaviour = behaviour},
        err);
}

static sterna_status split_string(sterna_tokenizer *t, sterna_text string,
                                  sterna_behaviour behaviour, bool invert, sterna_error *err)
{
    sterna_split_step step = {.kind = STERNA_SPLIT,
                              .matcher = STERNA_MATCH_STRING,
                              .behaviour = behaviour,
                              .invert = invert,
                              .string = keep(t, string)};
    return sterna_tokenizer_split(t, step, err);
}

static sterna_status split(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    sterna_text string, regex;
    sterna_behaviour behaviour;
    bool invert = sterna_json_flag(section, "invert", false);
    if (pattern_of(t, section, &string, &regex))
        return malformed(t, "pre_tokenizer", "Split", "a pattern", err);
    if (!behaviour_of(section, STERNA_ISOLATED, &behaviour))
        return malformed(t, "pre_tokenizer", "Split", "a known behavior", err);
    if (string.data) return split_string(t, string, behaviour, invert, err);
    return sterna_tokenizer_split_regex(t, regex.data, regex.size, behaviour, invert, err);
}

static sterna_status byte_level(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    static const char words[] =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    sterna_status status = STERNA_OK;
    if (sterna_json_flag(section, "add_prefix_space", true))
        status =
            sterna_tokenizer_split(t, (sterna_split_step){.kind = STERNA_SPLIT_PREFIX_SPACE}, err);
    if (!status && sterna_json_flag(section, "use_regex", true))
        status =
            sterna_tokenizer_split_regex(t, words, sizeof words - 1, STERNA_ISOLATED, false, err);
    if (!status)
        status = sterna_tokenizer_split(t, (sterna_split_step){.kind = STERNA_SPLIT_BYTES}, err);
    return status;
}

static bool prepend_scheme(const json_t *section, sterna_prepend *out)
{
    const char *scheme = json_string_value(json_object_get(section, "prepend_scheme"));
    bool add = sterna_json_flag(section, "add_prefix_space", true);
    *out = add ? STERNA_PREPEND_ALWAYS : STERNA_PREPEND_NEVER;
    if (!scheme) return true;
    *out = strcmp(scheme, "always") == 0  ? STERNA_PREPEND_ALWAYS
           : strcmp(scheme, "first") == 0 ? STERNA_PREPEND_FIRST
                                          : STERNA_PREPEND_NEVER;
    return *out != STERNA_PREPEND_NEVER || strcmp(scheme, "never") == 0;
}

static sterna_text metaspace_character(const json_t *section)
{
    sterna_text character = sterna_json_text(section, "replacement");
    return character.size ? character : (sterna_text){metaspace, sizeof metaspace - 1};
}

static sterna_status metaspace_split(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    sterna_split_step step = {.kind = STERNA_SPLIT_METASPACE};
    if (!prepend_scheme(section, &step.prepend))
        return malformed(t, "pre_tokenizer", "Metaspace", "a known prepend_scheme", err);
    step.string = keep(t, metaspace_character(section));
    sterna_status status = sterna_tokenizer_split(t, step, err);
    if (!status && sterna_json_flag(section, "split", true))
        status = split_string(t, step.string, STERNA_MERGED_WITH_NEXT, false, err);
    return status;
}

static sterna_status fixed_length(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    json_int_t length = json_integer_value(json_object_get(section, "length"));
    if (length < 1 || length > STERNA_TEXT_MAX_BYTES)
        return malformed(t, "pre_tokenizer", "FixedLength", "a positive length", err);
    return sterna_tokenizer_split(t,
                                  (sterna_split_step){.kind = STERNA_SPLIT,
                                                      .matcher = STERNA_MATCH_CHARACTERS,
                                                      .length = (size_t)length},
                                  err);
}

static sterna_status pretokenizer(sterna_tokenizer *t, const json_t *section, int depth,
                                  sterna_error *err)
{
    /* word characters in the sense of UTS 18, which Split's expressions do not have */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
    static const char words[] = "[" WORD "]+|[^" WORD "\\s]+";
#undef WORD
    if (json_is_null(section)) return STERNA_OK;
    const char *type = type_of(section);
    sterna_behaviour behaviour;
    if (strcmp(type, "Sequence") == 0)
        return sequence(t, json_object_get(section, "pretokenizers"), depth, "pre_tokenizer",
                        pretokenizer, err);
    if (strcmp(type, "Split") == 0) return split(t, section, err);
    if (strcmp(type, "ByteLevel") == 0) return byte_level(t, section, err);
    if (strcmp(type, "Metaspace") == 0) return metaspace_split(t, section, err);
    if (strcmp(type, "FixedLength") == 0) return fixed_length(t, section, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return split_at(t, STERNA_MATCH_WHITE_SPACE, STERNA_REMOVED, err);
    if (strcmp(type, "Whitespace") == 0)
        return sterna_tokenizer_split_regex(t, words, sizeof words - 1, STERNA_REMOVED, true, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        sterna_status status = split_at(t, STERNA_MATCH_WHITE_SPACE, STERNA_REMOVED, err);
        return status ? status : split_at(t, STERNA_MATCH_PUNCTUATION, STERNA_ISOLATED, err);
    }
    if (strcmp(type, "Punctuation") == 0) {
        if (!behaviour_of(section, STERNA_ISOLATED, &behaviour))
            return malformed(t, "pre_tokenizer", type, "a known behavior", err);
        return split_at(t, STERNA_MATCH_PUNCTUATION, behaviour, err);
    }
    if (strcmp(type, "Digits") == 0)
        return split_at(t, STERNA_MATCH_NUMERIC,
                        sterna_json_flag(section, "individual_digits", false) ? STERNA_ISOLATED
                                                                              : STERNA_CONTIGUOUS,
                        err);
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        sterna_text delimiter = sterna_json_text(section, "delimiter");
        if (!delimiter.size) return malformed(t, "pre_tokenizer", type, "its delimiter", err);
        return split_string(t, delimiter, STERNA_REMOVED, false, err);
    }
    return unsupported(t, "pre_tokenizer", type, err);
}

sterna_status sterna_json_pretokenizer(sterna_tokenizer *t, const json_t *section,
                                       sterna_error *err)
{
    return section ? pretokenizer(t, section, 0, err) : STERNA_OK;
}

/* ---- decoder ---- */

static sterna_status decode_replace(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    sterna_decode_step step = {.kind = STERNA_DECODE_REPLACE};
    sterna_status status =
        replace_of(t, "decoder", section, &step.pattern, &step.content, &step.regex, err);
    return status ? status : sterna_tokenizer_decode_step(t, step, err);
}

static sterna_status decode_strip(sterna_tokenizer *t, const json_t *section, bool fused,
                                  sterna_error *err)
{
    sterna_text content = sterna_json_text(section, "content");
    json_int_t start = json_integer_value(json_object_get(section, "start"));
    json_int_t stop = json_integer_value(json_object_get(section, "stop"));
    if (!content.size || start < 0 || stop < 0)
        return malformed(t, "decoder", "Strip", "its content, start or stop", err);
    if (fused && stop > 0) return unsupported(t, "decoder", "Strip (at the end of the text)", err);
    sterna_decode_step step = {.kind = fused ? STERNA_DECODE_STRIP_TEXT : STERNA_DECODE_STRIP,
                               .content = keep(t, content),
                               .left = (size_t)start,
                               .right = (size_t)stop};
    return sterna_tokenizer_decode_step(t, step, err);
}

static bool is_fused(const sterna_tokenizer *t)
{
    return t->n_decoder && t->decoder[t->n_decoder - 1].kind == STERNA_DECODE_FUSE;
}

static sterna_status decoder(sterna_tokenizer *t, const json_t *section, int depth,
                             sterna_error *err)
{
    sterna_decode_step step = {.content = {" ", 1}};
    const char *type = type_of(section);
    sterna_text pattern;
    if (json_is_null(section)) return STERNA_OK;
    if (strcmp(type, "Sequence") == 0)
        return sequence(t, json_object_get(section, "decoders"), depth, "decoder", decoder, err);
    if (strcmp(type, "Replace") == 0) return decode_replace(t, section, err);
    if (strcmp(type, "Strip") == 0) return decode_strip(t, section, is_fused(t), err);
    if (strcmp(type, "ByteLevel") == 0) {
        step.kind = STERNA_DECODE_BYTES;
    } else if (strcmp(type, "ByteFallback") == 0) {
        step.kind = STERNA_DECODE_BYTE_FALLBACK;
    } else if (strcmp(type, "Fuse") == 0) {
        step.kind = STERNA_DECODE_FUSE;
    } else if (strcmp(type, "Metaspace") == 0) {
        sterna_prepend scheme;
        if (!prepend_scheme(section, &scheme))
            return malformed(t, "decoder", type, "a known prepend_scheme", err);
        step.kind = STERNA_DECODE_METASPACE;
        step.pattern = keep(t, metaspace_character(section));
        step.strip_first = scheme != STERNA_PREPEND_NEVER;
    } else if (strcmp(type, "WordPiece") == 0) {
        pattern = sterna_json_text(section, "prefix");
        step.kind = STERNA_DECODE_WORDPIECE;
        step.pattern = pattern.data ? keep(t, pattern) : (sterna_text){"##", 2};
        step.cleanup = sterna_json_flag(section, "cleanup", true);
    } else if (strcmp(type, "BPEDecoder") == 0) {
        pattern = sterna_json_text(section, "suffix");
        step.kind = STERNA_DECODE_SUFFIX;
        step.pattern = pattern.data ? keep(t, pattern) : (sterna_text){"</w>", 4};
    } else {
        return unsupported(t, "decoder", type, err);
    }
    return sterna_tokenizer_decode_step(t, step, err);
}

sterna_status sterna_json_decoder(sterna_tokenizer *t, const json_t *section, sterna_error *err)
{
    if (!section || json_is_null(section)) /* no decoder: tokens are joined by spaces */
        return sterna_tokenizer_decode_step(t, (sterna_decode_step){.kind = STERNA_DECODE_JOIN},
                                            err);
    return decoder(t, section, 0, err);
}

/* ---- post-processor: only the tokens that it puts around one text ---- */

static sterna_status add_template_token(sterna_tokenizer *t, const json_t *section,
                                        const char *name, sterna_ids *ids, sterna_error *err)
{
    const json_t *list =
        json_object_get(json_object_get(json_object_get(section, "special_tokens"), name), "ids");
    if (!json_is_array(list))
        return malformed(t, "post_processor", "TemplateProcessing", "the ids of a special token",
                         err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (id < 0 || (size_t)id >= t->n_tokens || ids->count > 64)
            return sterna_fail(err, STERNA_ERROR_FORMAT,
                               "%s: the post_processor adds token id %lld, which is not in the "
                               "vocabulary of %zu tokens",
                               t->name, (long long)id, t->n_tokens);
        sterna_ids_add(ids, (int32_t)id);
    }
    return STERNA_OK;
}

static sterna_status template_processing(sterna_tokenizer *t, const json_t *section,
                                         sterna_error *err)
{
    const json_t *single = json_object_get(section, "single");
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const char *name =
            json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        if (json_object_get(item, "Sequence")) behind = true;
        if (!name) continue;
        sterna_status status =
            add_template_token(t, section, name, behind ? &t->suffix : &t->prefix, err);
        if (status) return status;
    }
    return STERNA_OK;
}

/* "cls" and "sep": [text, id] each. */
static sterna_status pair_processing(sterna_tokenizer *t, const json_t *section, const char *key,
                                     sterna_ids *ids, sterna_error *err)
{
    json_int_t id = json_integer_value(json_array_get(json_object_get(section, key), 1));
    if (id < 0 || (size_t)id >= t->n_tokens)
        return malformed(t, "post_processor", type_of(section), "its tokens", err);
    sterna_ids_add(ids, (int32_t)id);
    return STERNA_OK;
}

static sterna_status postprocessor(sterna_tokenizer *t, const json_t *section, int depth,
                                   sterna_error *err)
{
    const char *type = type_of(section);
    if (json_is_null(section) || strcmp(type, "ByteLevel") == 0) return STERNA_OK;
    if (strcmp(type, "Sequence") == 0)
        return sequence(t, json_object_get(section, "processors"), depth, "post_processor",
                        postprocessor, err);
    if (strcmp(type, "TemplateProcessing") == 0) return template_processing(t, section, err);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        sterna_status status = pair_processing(t, section, "cls", &t->prefix, err);
        return status ? status : pair_processing(t, section, "sep", &t->suffix, err);
    }
    return unsupported(t, "post_processor", type, err);
}

sterna_status sterna_json_postprocessor(sterna_tokenizer *t, const json_t *section,
                                        sterna_error *err)
{
    return section ? postprocessor(t, section, 0, err) : STERNA_OK;
}
