/*
 * tcp_splice.h - bytes of one direction from one TCP socket to another that never come up to us.
 *
 * splice(2) moves pages from the source's receive queue through a pipe to the destination's send
 * queue: a fourth of the processor time of a copy for bulk, none gained for small messages. So who
 * asks for it waits until a direction has proved bulky.
 *
 * Happy path: what the destination still has queued leaves first, then the kernel moves the bytes;
 * on_moved tells how many, in the stream's own time. The source's end comes as its on_end, once the
 * last byte has left the pipe. Failure modes: either socket dies, which its stream tells its owner
 * as ever. stream_queued() of the destination counts what is in the pipe, and neither stream is
 * given pause, resume or bytes to write (that direction) meanwhile. Closing either of the two ends
 * it; what was in the pipe is lost then, as queued bytes are.
 *
 * Bound: SPLICES_MAX directions a loop; each holds four descriptors and a pipe of
 * SPLICE_PIPE_BYTES. Owner:  the two streams. Thread: the loop's. Source: splice(2), pipe(7).
 */
#ifndef ISTHMUS_IO_TCP_SPLICE_H
#define ISTHMUS_IO_TCP_SPLICE_H

#include "proxy/io/tcp.h"

#define SPLICES_MAX       512
#define SPLICE_PIPE_BYTES 262144

/* Starts it. False when it cannot be: one of them is no TCP stream, is dead or ended, or pipes or
 * descriptors have run out; nothing has changed then and the caller goes on copying. on_moved must
 * not close either stream. */
bool tcp_splice(struct stream *from, struct stream *to, void (*on_moved)(void *owner, size_t bytes),
                void *owner);

#endif
