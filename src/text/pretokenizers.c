/* The pre-tokenizers that GGUF's tokenizer.ggml.pre names: which expressions cut the text, one
 * after the other. The expressions are those of the models' own tokenizer.json, in its syntax. All
 * take linear time, so they are not metered, here or in a tokenizer.json that holds the same one.
 */
#include <string.h>

#include "text/tokenizer_internal.h"

#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHERS       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" REST
#define WORD         "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define LLAMA3       CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" OTHERS
#define QWEN2        CONTRACTIONS "|" WORD "|\\p{N}|" OTHERS
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(after)                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" after "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER   \
    "*" after "|"
#define SLASHED    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST
#define GPT4O      CASED(CONTRACTIONS "?") "\\p{N}{1,3}|" SLASHED
#define PUNCTUATED "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
#define CJK        "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define CJK_HANGUL "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define DEEPSEEK3                                                                                  \
    PUNCTUATED "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|"   \
               "\\s+(?!\\S)|\\s+"
#define BLOOM     " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define HAN_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define HAN_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI                                                                                       \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" HAN_UPPER "*" HAN_LOWER "+" CONTRACTIONS                  \
    "?|[^\\r\\n\\p{L}\\p{N}]?" HAN_UPPER "+" HAN_LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}|" OTHERS
/* The look-behind says what always holds: within a run of white space of which a part has been
 * taken there is no line end ahead. Without it each part would be searched for one again. */
#define JAIS2                                                                                      \
    CONTRACTIONS "|" WORD                                                                          \
                 "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|(?<![^\\S\\r\\n])\\s*[\\r\\n]+|"     \
                 "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"  \
                 "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"
#define DIGITS_ALONE "\\d{1,3}(?=(?:\\d{3})*\\b)" /* counted by tokenizer.c */
#define DIGIT_CUTS   "(?=(\\d{3})+(?!\\d))"
#define LINES        "[^\\n]+|[\\n]+"
#define DEEPSEEK_LETTERS                                                                           \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"        \
    "\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}"          \
    "\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"         \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-"           \
    "\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}"        \
    "\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-"       \
    "\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-"         \
    "\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-"        \
    "\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}"        \
    "\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}"          \
    "\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-"        \
    "\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-"         \
    "\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"         \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-"       \
    "\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-"              \
    "\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-"         \
    "\\x{118df}\\x{1e900}-\\x{1e943}"
#define AFMOE_SCRIPTS                                                                              \
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{8c48}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-"      \
    "\\x{30ff}\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}"            \
    "\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-"       \
    "\\x{d7af}\\x{1100}-\\x{11ff}]+"
#define YOUTU_SCRIPTS                                                                              \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"     \
    "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|["      \
    "\\x{3105}-\\x{312f}]+|[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"

static const sterna_pretokenizer_row rows[] = {
    {.name = "llama-bpe|llama3|llama-v3|falcon3|falcon-h1|pixtral|midm-2.0|lfm2|jina-v5-nano",
     .patterns = {LLAMA3},
     .ignore_merges = true,
     .add_bos = true},
    {.name = "dbrx|smaug-bpe|chatglm-bpe", .patterns = {LLAMA3}},
    {.name = "glm4|glm5", .patterns = {LLAMA3}, .ignore_merges = true},
    {.name = "jais-2", .patterns = {JAIS2}},
    {.name = "minicpm5",
     .patterns = {"\\p{N}{1,3}", CONTRACTIONS "|" WORD "|\\p{N}+|" OTHERS},
     .ignore_merges = true},
    {.name = "qwen2|deepseek-r1-qwen|kormo|f2llmv2|megrez|stablelm2|hunyuan|solar-open|grok-2",
     .patterns = {QWEN2}},
    {.name = "qwen35",
     .patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "
                               "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" REST}},
    {.name = "ufakzeka", .patterns = {WORD "|\\p{N}|" OTHERS}},
    {.name = "laguna", .patterns = {LINES, QWEN2}},
    {.name = "seed-coder",
     .patterns = {CONTRACTIONS "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" REST}},
    {.name = "bailingmoe|bailingmoe2|llada-moe",
     .patterns = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
                  "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                  "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.name = "exaone-moe",
     .patterns = {CONTRACTIONS
                  "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|"
                  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.name =
         "gpt-2|phi-2|jina-es|jina-de|gigachat|jina-v2-es|jina-v2-de|a.x-4.0|mellum|modern-bert|"
         "jina-v1-en|jina-v2-code|roberta-bpe|mpt|olmo|jais|trillion|granite-docling|exaone4",
     .patterns = {GPT2}},
    {.name = "smollm|starcoder|refact|command-r|codeshell|exaone|minerva-7b|mellum2",
     .patterns = {"\\p{N}", GPT2}},
    {.name = "falcon", .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.name = "default",
     .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.name = "deepseek-llm",
     .patterns =
         {"[\r\n]", "\\s?[" DEEPSEEK_LETTERS "]+",
          "\\s?[!-/"
          ":-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
          "\\s+$", CJK_HANGUL, "\\p{N}+"}},
    {.name = "deepseek-coder",
     .patterns = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_HANGUL, "\\p{N}"}},
    {.name = "deepseek-v3|hunyuan-dense|joyai-llm|hy_v4",
     .patterns = {"\\p{N}{1,3}", CJK, DEEPSEEK3}},
    {.name = "spark2_5",
     .patterns = {"\\p{N}{1,3}", CJK,
                  PUNCTUATED "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\r\n]|"
                             "\\s+(?!\\S)|\\s+",
                  "\\p{N}"}},
    {.name = "youtu",
     .patterns = {YOUTU_SCRIPTS, CASED(CONTRACTIONS "?") "\\p{N}|" SLASHED},
     .ignore_merges = true},
    {.name = "gpt-4o|llama4|kanana2|talkie|minimax-m2", .patterns = {GPT4O}},
    {.name = "granite-embed-multi-97m", .patterns = {GPT4O}, .ignore_merges = true},
    {.name = "tekken",
     .patterns = {CASED("") "\\p{N}|" SLASHED},
     .ignore_merges = true,
     .add_bos = true},
    {.name = "tiny_aya|cohere2moe", .patterns = {DIGITS_ALONE, GPT4O}},
    {.name = "superbpe", .patterns = {"\\p{N}+", DIGIT_CUTS}},
    {.name = "afmoe",
     .patterns = {DIGIT_CUTS, AFMOE_SCRIPTS,
                  PUNCTUATED
                  "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" REST}},
    {.name = "kimi-k2", .patterns = {KIMI}},
    {.name = "bloom|poro-chat|gpt3-finnish", .patterns = {BLOOM}},
    {.name = "viking", .patterns = {BLOOM, "\\p{N}"}},
    {.name = "chameleon",
     .patterns = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                  "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     .add_bos = true},
    {.name = "gemma4|granite-embed-multi-311m|sarvam-moe", .patterns = {LINES}, .raw = true},
    {.name = "whitespace", .patterns = {"\\S+"}, .raw = true},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

const sterna_pretokenizer_row *sterna_pretokenizer_find(const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < N_ROWS; i++) {
        for (const char *at = rows[i].name; *at;) {
            size_t length = strcspn(at, "|");
            if (length == size && memcmp(at, name, size) == 0) return &rows[i];
            at += length + (at[length] == '|');
        }
    }
    return NULL;
}

bool sterna_pretokenizer_knows(const char *pattern, size_t size)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        for (size_t k = 0; k < 8 && rows[i].patterns[k]; k++) {
            const char *known = rows[i].patterns[k];
            if (strlen(known) == size && memcmp(known, pattern, size) == 0) return true;
        }
    }
    return false;
}

void sterna_pretokenizer_names(sterna_buffer *out)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        size_t length = strcspn(rows[i].name, "|");
        if (i) sterna_buffer_add_text(out, ", ");
        sterna_buffer_add(out, rows[i].name, length);
    }
}
