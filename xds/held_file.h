/*
 * held_file.h - what a client holds as the bytes of one file.
 *
 * "ISTHXDS1", a record a resource {type u8, lengths of name, version and bytes u32 each, then
 * these}, "END", their number u64, and the xxHash64 of everything before it; numbers are
 * little-endian. All or nothing: bytes that are damaged, cut short or hold a resource that is not
 * accepted (any more) are refused whole.
 *
 * Thread: one. Errors: -ERR_INVALID with a sentence appended to *why.
 */
#ifndef ISTHMUS_XDS_HELD_FILE_H
#define ISTHMUS_XDS_HELD_FILE_H

#include "xds/held.h"

#define HELD_FILE_MAX_BYTES ((size_t)1 << 31)

/* Appends to out, whose limit is raised to HELD_FILE_MAX_BYTES; out->truncated says that it was not
 * enough. */
void held_file_write(const struct held *held, struct text *out);
/* Types that are not wanted are passed over. */
MUST_USE int held_file_read(struct str bytes, const bool wanted[XDS_TYPES], struct held *out_held,
                            struct text *why);

#endif
