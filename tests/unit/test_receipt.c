/* The receipt of a quantized model: digests, the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "quant/receipt.h"

static void expect_digest(const char *text, size_t step, const char *expected)
{
    sterna_digest digest;
    uint8_t bytes[STERNA_DIGEST_BYTES];
    char hex[STERNA_DIGEST_TEXT];
    sterna_digest_start(&digest);
    for (size_t at = 0, size = strlen(text); at < size; at += step)
        sterna_digest_add(&digest, text + at, size - at < step ? size - at : step);
    sterna_digest_end(&digest, bytes);
    sterna_digest_text(bytes, hex);
    assert_string_equal(hex, expected);
}

/* The examples of FIPS 180-4 (and the empty text), whole and in pieces. */
static void digests(void **state)
{
    (void)state;
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (size_t step = 1; step < 80; step += 13) {
        expect_digest("", step, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        expect_digest("abc", step,
                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        expect_digest(two, step,
                      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    while ((text = strstr(text, part))) {
        n++;
        text++;
    }
    return n;
}

static const char receipt[] =
    "{\"input\": \"a/in.gguf\", \"output\": \"b/<out>&.gguf\", \"bits_per_weight\": 3.5,"
    " \"ternary_bits_per_weight\": 1.75, \"settings\": {\"method\": \"sterna\"},"
    " \"evaluation\": [{\"text\": \"x\\\"y\", \"before\": 10, \"after\": 20, \"kl\": 0.5}],"
    " \"bytes\": {\"code_bytes\": 8, \"scale_bytes\": 1, \"kept_bytes\": 4, \"metadata_bytes\": 2},"
    " \"stages\": [{\"stage\": \"one\", \"time_s\": 1}, {\"stage\": \"two\", \"time_s\": 3}],"
    " \"tensors\": ["
    "  {\"name\": \"token_embd.weight\", \"shape\": [4, 9], \"bits\": 8.5},"
    "  {\"name\": \"blk.0.attn_q.weight\", \"shape\": [4, 2], \"bits\": 2, \"relative_error\": 0.1,"
    "   \"error_share\": 0.75, \"minus\": 0.25, \"zeros\": 0.5, \"plus\": 0.25},"
    "  {\"name\": \"blk.12.attn_q.weight\", \"shape\": [4, 2], \"bits\": 2, \"relative_error\": "
    "0.3,"
    "   \"minus\": 0.5, \"zeros\": 0.25, \"plus\": 0.25},"
    "  {\"name\": \"blk.12.attn_v.weight\", \"shape\": [4, 2], \"bits\": 8.5, \"error_share\": "
    "0.25},"
    "  {\"name\": \"blk.12.attn_norm.weight\", \"shape\": [4], \"bits\": 32}]}";

static void shows_everything(void **state)
{
    (void)state;
    sterna_buffer html = {0};
    json_t *object = json_loads(receipt, 0, NULL);
    assert_non_null(object);
    sterna_receipt_html(object, &html);
    assert_false(html.failed);
    assert_non_null(strstr(html.data, "&lt;out&gt;&amp;.gguf"));
    assert_null(strstr(html.data, "<out>"));
    assert_non_null(strstr(html.data, "x&quot;y"));
    assert_non_null(strstr(html.data, "2.00 \xc3\x97")); /* the perplexity of the source */
    assert_non_null(strstr(html.data, "blk.12.attn_q.weight: 0.3"));
    assert_non_null(strstr(html.data, "blk.12.attn_v.weight: 0.25")); /* finer than trits */
    assert_non_null(strstr(html.data, "blk.12.attn_v.weight: 8.5"));
    assert_null(strstr(html.data, "blk.12.attn_norm.weight: 32")); /* no matrix */
    assert_int_equal(count(html.data, "<svg"), 7);
    static const char *const tags[] = {"svg",  "figure", "table", "details", "div",
                                       "text", "title",  "tbody", "main",    "tr>"};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        char opens[16], closes[16];
        snprintf(opens, sizeof opens, "<%s", tags[i]);
        snprintf(closes, sizeof closes, "</%s", tags[i]);
        assert_int_equal(count(html.data, opens), count(html.data, closes));
    }
    sterna_buffer_free(&html);
    json_decref(object);
}

/* What a caller or another version leaves out is left out of the page. */
static void shows_what_there_is(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}", "{\"tensors\": 3, \"stages\": {}, \"evaluation\": \"no\"}",
        "{\"tensors\": [{}, {\"name\": \"blk.9999999999.x\", \"zeros\": 1}, 4]}",
        "{\"evaluation\": [{\"before\": 0, \"after\": 0}], \"bytes\": {}, \"stages\": [{}]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sterna_buffer html = {0};
        json_t *object = json_loads(texts[i], 0, NULL);
        sterna_receipt_html(object, &html);
        assert_false(html.failed);
        assert_non_null(strstr(html.data, "</html>"));
        assert_null(strstr(html.data, "nan"));
        sterna_buffer_free(&html);
        json_decref(object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests),
        cmocka_unit_test(shows_everything),
        cmocka_unit_test(shows_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
