/*
 * secret_memory.h - what OpenSSL gives back to the heap is overwritten first.
 *
 * A private key is read, decoded and handed about inside OpenSSL, and not every copy of it on that
 * way is cleared (EVP_PKCS82PKEY() of 3.0 frees one as it is). So every block that OpenSSL frees on
 * the thread that reads keys is wiped, whole; a key then lives as long as its last reference and
 * nowhere else. Workers only use keys by reference, and OpenSSL clears what it computes with them
 * itself; to wipe there, too, would cost a handshake a tenth more.
 *
 * Thread: the one that reads keys, before anything of OpenSSL was called.
 */
#ifndef ISTHMUS_CERTS_SECRET_MEMORY_H
#define ISTHMUS_CERTS_SECRET_MEMORY_H

/* For the life of the process; to call it twice or too late is a bug of ours. */
void secret_memory_install(void);

#endif
