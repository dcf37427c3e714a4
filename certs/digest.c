#include "certs/digest.h"

#include <openssl/evp.h>

void digest_sha256_hex(struct str bytes, char out_hex[DIGEST_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    ensure(EVP_Digest(bytes.ptr ? bytes.ptr : "", bytes.len, digest, &len, EVP_sha256(), NULL) ==
               1 &&
           len * 2 == DIGEST_HEX_LEN);
    for (unsigned i = 0; i < len; i++) {
        out_hex[2 * i] = digits[digest[i] >> 4];
        out_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    out_hex[DIGEST_HEX_LEN] = '\0';
}
