#include "proxy/io/stream.h"

bool stream_write_copy(struct stream *stream, const void *bytes, size_t len)
{
    return stream_write(stream, slice_copy(stream->slabs, bytes, len));
}
