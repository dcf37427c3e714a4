#include "certs/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* Looked up once: asking the providers for it costs as much as hashing a kilobyte. Never freed. */
static EVP_MD *sha256;
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    ensure(sha256);
}

void digest_sha256(struct str bytes, unsigned char out[DIGEST_LEN])
{
    unsigned len = 0;

    ensure(CRYPTO_THREAD_run_once(&once, fetch) == 1);
    ensure(EVP_Digest(bytes.ptr ? bytes.ptr : "", bytes.len, out, &len, sha256, NULL) == 1 &&
           len == DIGEST_LEN);
}

uint64_t digest_number(struct str bytes)
{
    unsigned char digest[DIGEST_LEN];
    uint64_t number = 0;

    digest_sha256(bytes, digest);
    for (unsigned i = 0; i < sizeof(number); i++)
        number = number << 8 | digest[i];
    return number;
}

void digest_sha256_hex(struct str bytes, char out_hex[DIGEST_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[DIGEST_LEN];

    digest_sha256(bytes, digest);
    for (size_t i = 0; i < DIGEST_LEN; i++) {
        out_hex[2 * i] = digits[digest[i] >> 4];
        out_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    out_hex[DIGEST_HEX_LEN] = '\0';
}
