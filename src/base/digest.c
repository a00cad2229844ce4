#include "base/digest.h"

#include <string.h>

#include "base/file.h"

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int bits)
{
    return x >> bits | x << (32 - bits);
}

static void add_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               block[3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t one = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
        uint32_t two = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

void sterna_digest_start(sterna_digest *digest)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(digest->state, first, sizeof first);
    digest->size = 0;
}

void sterna_digest_add(sterna_digest *digest, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size) {
        size_t held = digest->size % 64, step = 64 - held < size ? 64 - held : size;
        memcpy(digest->block + held, at, step);
        digest->size += step;
        if (held + step == 64) add_block(digest->state, digest->block);
        at += step;
        size -= step;
    }
}

void sterna_digest_end(sterna_digest *digest, uint8_t out[STERNA_DIGEST_BYTES])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = digest->size * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    size_t held = digest->size % 64;
    sterna_digest_add(digest, padding, held < 56 ? 56 - held : 120 - held);
    sterna_digest_add(digest, length, sizeof length);
    for (int i = 0; i < STERNA_DIGEST_BYTES; i++)
        out[i] = (uint8_t)(digest->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sterna_digest_text(const uint8_t digest[STERNA_DIGEST_BYTES], char text[STERNA_DIGEST_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < STERNA_DIGEST_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * STERNA_DIGEST_BYTES] = '\0';
}

sterna_status sterna_digest_file(const char *path, uint8_t out[STERNA_DIGEST_BYTES],
                                 sterna_error *err)
{
    const size_t part = 1 << 20;
    sterna_file *file = NULL;
    sterna_status status = sterna_file_open(path, &file, err);
    if (status) return status;
    sterna_digest digest;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)file->size >> (8 * i));
    sterna_digest_start(&digest);
    sterna_digest_add(&digest, size, sizeof size);
    if (file->size <= 3 * part) {
        sterna_digest_add(&digest, file->data, file->size);
    } else {
        sterna_digest_add(&digest, file->data, part);
        sterna_digest_add(&digest, file->data + (file->size - part) / 2, part);
        sterna_digest_add(&digest, file->data + file->size - part, part);
    }
    sterna_digest_end(&digest, out);
    sterna_file_close(file);
    return STERNA_OK;
}
