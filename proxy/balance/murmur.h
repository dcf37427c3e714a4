/*
 * murmur.h - MurmurHash2 in its 64-bit form for 64-bit machines (MurmurHash64A), with the seed of
 * libstdc++'s std::hash: the older of the two functions with which Envoy places the points of a
 * ring. For nothing else; everything of ours is xxHash64 (str_hash()).
 *
 * Thread: any. Source: Austin Appleby's MurmurHash2.cpp, which is in the public domain.
 */
#ifndef ISTHMUS_BALANCE_MURMUR_H
#define ISTHMUS_BALANCE_MURMUR_H

#include "proxy/base/str.h"

uint64_t murmur_hash2(struct str text);

#endif
