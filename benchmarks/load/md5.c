/* RFC 1321, for one short text: CONNECT's digest. */

#include <stdlib.h>
#include <string.h>

#include "load.h"

static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
static const uint8_t TURNS[16] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};

void md5(const uint8_t *text, size_t size, uint8_t digest[16])
{
    uint8_t padded[256] = {0};
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t whole = (size + 8) / 64 * 64 + 64;
    if (whole > sizeof padded)
        exit(2);
    memcpy(padded, text, size);
    padded[size] = 0x80;
    for (int k = 0; k < 8; k++)
        padded[whole - 8 + k] = (uint8_t)((uint64_t)size * 8 >> 8 * k);
    for (size_t at = 0; at < whole; at += 64) {
        uint32_t word[16], a = state[0], b = state[1], c = state[2], d = state[3];
        for (int k = 0; k < 16; k++) {
            const uint8_t *from = padded + at + 4 * k;
            word[k] = from[0] | from[1] << 8 | from[2] << 16 | (uint32_t)from[3] << 24;
        }
        for (int k = 0; k < 64; k++) {
            uint32_t mixed, next;
            int from;
            switch (k / 16) {
            case 0: mixed = (b & c) | (~b & d); from = k; break;
            case 1: mixed = (d & b) | (~d & c); from = (5 * k + 1) % 16; break;
            case 2: mixed = b ^ c ^ d; from = (3 * k + 5) % 16; break;
            default: mixed = c ^ (b | ~d); from = 7 * k % 16; break;
            }
            next = a + mixed + SINES[k] + word[from];
            int turn = TURNS[k / 16 * 4 + k % 4];
            a = d, d = c, c = b;
            b += next << turn | next >> (32 - turn);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
    for (int k = 0; k < 16; k++)
        digest[k] = (uint8_t)(state[k / 4] >> 8 * (k % 4));
}
