/*
 * h2_internal.h - what the files of h2 share: the connection, its streams, and who calls whom.
 *
 * h2_head.c (fields), h2_watch.c (floods) <- h2_stream_in.c <- h2_stream.c (one stream) <-
 * h2_send.c (heads) <- h2_codec.c (nghttp2's callbacks) <- h2_session.c <- h2.c (the connection). A
 * lower file never calls a higher one: it marks what happened and asks for the connection's task or
 * the stream's task, which run at the end of the turn.
 *
 * nghttp2 forbids to receive, send or delete a session inside its callbacks; everything else is
 * allowed there. So owners are called from its receive callbacks directly, and never from its send
 * callbacks: what happens while sending (queue drained, stream closed) is told by the stream's
 * task.
 */
#ifndef ISTHMUS_HTTP_H2_INTERNAL_H
#define ISTHMUS_HTTP_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "proxy/base/arena.h"
#include "proxy/base/buf.h"
#include "proxy/http/h2.h"
#include "proxy/http/h2_nest.h"
#include "proxy/tls/stage.h"

#define H2_QUEUE_HIGH ((size_t)262144) /* write queue of a stream */
#define H2_QUEUE_LOW  ((size_t)65536)
#define H2_QUEUES     ((size_t)2097152) /* of all streams together, from where each gets least */
#define H2_QUEUE_PART                                                                              \
    4 /* of what is left of that a stream may fill, and drains at as much of it                    \
       */
#define H2_NARROW_WINDOW                                                                           \
    16384u /* a stream's, while much waits to be read: doubles for one that keeps up */
#define H2_FRAME_PAYLOAD                                                                           \
    ((size_t)32768)      /* a DATA frame of ours at most: between overhead and fairness */
#define H2_NV_ROOM    32 /* fields that are sent without an allocation */
#define H2_WHY_MAX    256
#define H2_DRAIN_PING "drain..." /* its answer says that the peer knows of the first GOAWAY */

/* A header block while it is read. Blocks are never interleaved on a connection, so there is one a
 * connection; it holds memory from its first field until it is reset. */
struct h2_scratch {
    struct slab_pool *slabs;
    struct h2_field *fields; /* in a block of the loop's slabs, off the heap when there are more */
    nghttp2_rcbuf **bufs;    /* behind them; two a field: name and value, a reference each */
    size_t len, cap;
    size_t size; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts it */
    bool is_cut; /* fields are missing: there were too many */
};

struct h2_watch; /* h2_watch.c */

struct h2_door { /* what a peer lets us open */
    uint32_t max_streams;
    bool is_open;
};

/* A copy of fields that outlives the call that brought them. */
struct h2_saved {
    struct arena arena;
    struct h2_field *fields;
    size_t len;
    bool is_set;
};

/* What few streams have. */
struct h2_rest {
    struct h2_saved trailers_in, trailers_out;
    struct h2_saved held; /* a request that waits for the peer's SETTINGS */
};

struct h2 {
    struct loop *loop;
    struct h2_nest *nest;     /* where the session lies */
    nghttp2_session *in_nest; /* read it through h2_session() */
    struct h2_door door;      /* of a client: as it was when the nest was folded */
    struct stage stage;       /* stage.lower is NULL once the connection is dead */
    struct h2_options options;
    const struct h2_events *events;
    void *owner;
    struct list streams;      /* every h2_stream whose h2 is this */
    struct task task;         /* flushes at the end of the turn */
    struct timer still_timer; /* for the peer's SETTINGS; then for stillness */
    struct timer keepalive_timer, head_timer;
    struct h2_watch *watch; /* NULL: of tunnels */
    struct slice input;     /* what is being received; slab NULL outside of it */
    struct h2_scratch scratch;
    struct http_rate resets, controls;
    uint64_t last_read_ns;
    uint64_t ping_sent_ns; /* 0: none is under way */
    size_t held_bytes;     /* in paused streams */
    size_t grown_bytes;    /* by which windows of streams are wider than they were born */
    size_t owed_bytes;     /* of the connection's window, not given back yet */
    size_t queued_bytes;   /* in the write queues of its streams */
    size_t queued_heads;   /* bytes of heads, at most, since nghttp2 had nothing to send last */
    unsigned n_open;       /* streams that nghttp2 knows */
    uint32_t window;       /* that streams are born with, by SETTINGS that the peer knows of */
    uint32_t asked_window; /* the same, by our latest */
    uint32_t timed_head;   /* the one that head_timer runs for */
    int end_err;           /* of the lower stream, that the end inside nghttp2 owes it */
    int doom_err;          /* set inside nghttp2's callbacks: the connection must end */
    uint32_t doom_code;    /* with this error code in the GOAWAY */
    bool is_server;
    bool is_ready;        /* the peer's first SETTINGS came */
    bool is_asking;       /* our latest SETTINGS are not acknowledged */
    bool in_codec;        /* inside nghttp2_session_mem_recv() */
    bool is_draining;     /* we said GOAWAY */
    bool peer_is_leaving; /* the peer said GOAWAY */
    bool goaway_is_final; /* and which stream is the last */
    bool was_refused;     /* the block that is being read was */
    bool capacity_changed;
    bool has_moved;  /* since still_timer was started */
    bool is_dead;    /* streams have failed, the lower stream is gone */
    bool is_closed;  /* the owner gave up the pointer */
    bool has_parted; /* h2_part(): its last words are out */
    char *why;       /* what nghttp2 said last, H2_WHY_MAX; NULL: nothing */
};

/* Each direction of a stream: OPEN --(end asked for / seen)--> ENDING --(sent / told)--> ENDED. */
enum h2_half { H2_HALF_OPEN, H2_HALF_ENDING, H2_HALF_ENDED };

struct h2_stream {
    struct http_stream base;
    struct list link;
    struct loop *loop;
    struct h2 *h2; /* NULL once the connection is dead */
    int32_t id;
    enum h2_half in_half, out_half;
    const struct h2_stream_events *head_events;
    struct buf in;        /* came while paused; bounded by the stream's window */
    struct buf out;       /* waits for the peer's window */
    struct h2_rest *rest; /* NULL: none */
    struct task deliver;
    struct timer timer; /* lingering, or the body's */
    uint64_t moved_ns;  /* when a byte last came or went */
    uint64_t opened_ns;
    size_t grown_bytes;  /* what we let the peer send ahead more than at first */
    size_t taken_bytes;  /* since the window last grew or the owner paused */
    int fail_err;        /* to be told */
    bool fail_after_end; /* the peer's bytes are whole: tell them first */
    bool is_paused;
    bool head_is_sent;  /* a request's or a response's head: the body may follow */
    bool head_has_come; /* client: the response's */
    bool is_protocol;   /* bytes of another protocol */
    bool is_asked;      /* client of messages: what comes is an answer */
    bool is_head;       /* client: of a request by HEAD */
    bool is_stopped;    /* write said stop, and the queue has not drained since */
    bool is_drained;    /* on_drain is due */
    bool is_failed;     /* on_fail was told */
    bool codec_closed;  /* nghttp2 has forgotten the stream */
    bool is_lingering;  /* the owner is gone, queued bytes still go out */
    bool is_closed;     /* the owner gave up the pointer */
};

/* What a peer has done wrong, and is told with a GOAWAY. */
static inline bool h2_is_fault(int err)
{
    switch (-err) {
    case ERR_H2:
    case ERR_H2_RESET_FLOOD:
    case ERR_H2_CONTINUATION_FLOOD:
    case ERR_H2_PING_FLOOD:
    case ERR_H2_SETTINGS_FLOOD:
    case ERR_H2_EMPTY_FLOOD:
    case ERR_H2_WINDOW_FLOOD:
    case ERR_H2_CONTROL_FLOOD:
    case ERR_HEAD_TIMEOUT:
    case ERR_LIMIT: return true;
    default: return false;
    }
}

/* A GOAWAY that nghttp2 sent by itself. */
static inline int h2_err_of_code(uint32_t code)
{
    return code == NGHTTP2_ENHANCE_YOUR_CALM ? -ERR_H2_CONTROL_FLOOD : -ERR_H2;
}

static inline const char *h2_why(const struct h2 *h2)
{
    return h2->why ? h2->why : "";
}

/* Unfolded if need be: whoever asks for the session may use it until the end of the turn. */
static inline nghttp2_session *h2_session(const struct h2 *h2)
{
    if (h2_nest_is_folded(h2->nest))
        h2_nest_unfold(h2->nest);
    return h2->in_nest;
}

/* Asks for a flush at the end of the turn. */
static inline void h2_schedule(struct h2 *h2)
{
    if (!h2->is_dead)
        loop_defer(h2->loop, &h2->task);
}

static inline bool h2_stream_is_live(const struct h2_stream *s) /* frames of it may be sent */
{
    return s->h2 && !s->codec_closed;
}

static inline void h2_note_ended(struct h2_stream *s)
{
    s->h2->n_open--;
    s->h2->grown_bytes -= s->grown_bytes;
    s->h2->capacity_changed = true;
}

/* h2_head.c */
void h2_scratch_reset(struct h2_scratch *scratch);
/* Adds a field; takes references. False when the block grows beyond limit bytes or max_fields (0:
 * any); the field is then only counted. */
bool h2_scratch_add(struct h2_scratch *scratch, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    size_t limit, size_t max_fields);
void h2_saved_put(struct h2_saved *saved, const struct h2_field *fields, size_t n_fields);
void h2_saved_fini(struct h2_saved *saved);
/* Fields as nghttp2 wants them, borrowed; into room if they fit in n_room, else off the heap. */
nghttp2_nv *h2_nv_make(const struct h2_field *fields, size_t n_fields, nghttp2_nv *room,
                       size_t n_room);
void h2_nv_free(nghttp2_nv *nv, const nghttp2_nv *room);

/* h2_watch.c */
struct h2_watch *h2_watch_new(bool is_server);
void h2_watch_free(struct h2_watch *watch);
/* Goes on from *at to behind the next frame's head: true, and the head; false: there is no more of
 * one in these bytes. */
bool h2_watch_scan(struct h2_watch *watch, const uint8_t *bytes, size_t len, size_t *at,
                   nghttp2_frame_hd *out_hd);
/* Which head is being read, 0 for none: it began and is not whole. */
uint32_t h2_watch_head(const struct h2_watch *watch);
/* Looks at a frame before nghttp2 does, which knows all before it. NULL, or why the connection must
 * end with *out_code. */
const char *h2_watch_frame(struct h2 *h2, const nghttp2_frame_hd *hd, uint32_t *out_code);
/* A DATA frame or a RST_STREAM of ours went out. */
void h2_watch_sent(struct h2_watch *watch, const nghttp2_frame_hd *hd);
/* nghttp2 refuses a frame of the stream: a reset of it is on its way. */
void h2_watch_refused(struct h2_watch *watch, int32_t id);

static inline bool h2_stream_is_deaf(const struct h2_stream *s) /* nobody is to be told anything */
{
    return s->is_closed || s->is_failed || !s->base.stream.events;
}

/* h2_part.c */
bool h2_is_lost_trust(int err);
/* Why the peer is told nothing any more, in place of what waits to be sent to it. True: it was
 * said, and the lower stream is to be closed politely. */
MUST_USE bool h2_part(struct h2 *h2, int err);

/* h2_stream_in.c */

/* Tells all that the owner may hear now. */
void h2_stream_deliver(struct h2_stream *s);
void h2_stream_run_deliver(struct task *task);
/* A byte came or went. */
void h2_stream_note_moved(struct h2_stream *s);
void h2_stream_drop_held(struct h2_stream *s);
void h2_stream_drop_rest(struct h2_stream *s);

/* h2_stream.c */
extern const struct stream_ops h2_stream_ops;

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
struct h2_stream *h2_stream_of(struct stream *stream);
struct h2_rest *h2_stream_rest(struct h2_stream *s);

/* The stream ends for a fault of the peer. */
void h2_stream_fault(struct h2_stream *s);
/* What a request or a response with a body is submitted with. */
nghttp2_data_provider h2_stream_body(void);
/* Moves len bytes of the write queue into the stage; returns how many there were. */
size_t h2_stream_send(struct h2_stream *s, struct stage *stage, size_t len);
void h2_stream_on_chunk(struct h2_stream *s, struct slice bytes); /* borrows */
void h2_stream_on_trailers(struct h2_stream *s, const struct h2_head *trailers);
void h2_stream_on_end(struct h2_stream *s);
/* END_STREAM of ours went out. */
void h2_stream_end_sent(struct h2_stream *s);
/* nghttp2 closed the stream with that error code. */
void h2_stream_codec_closed(struct h2_stream *s, uint32_t code);
/* The connection died: tells the owner at once, unless the stream was complete. */
void h2_stream_orphan(struct h2_stream *s, int err);
/* Gives back window to the connection for bytes that do not wait any more. */
void h2_window_pay(struct h2 *h2, size_t n_bytes);
/* The peer has acknowledged our latest SETTINGS. */
void h2_window_told(struct h2 *h2);

/* h2_send.c */
/* Submits a request's head. */
void h2_stream_submit(struct h2_stream *s, const struct h2_field *fields, size_t n_fields,
                      bool end_stream);
/* Submits it once the peer's SETTINGS have come. */
void h2_stream_hold(struct h2_stream *s, const struct h2_field *fields, size_t n_fields);
/* They came: a request that waited for them goes out, or fails. */
void h2_stream_release(struct h2_stream *s);

/* h2_memory.c */

/* For the session that is made next, on this thread, in that nest; h2_memory_born() when it is. */
nghttp2_mem h2_memory_for_birth(struct h2_nest *nest);
void h2_memory_born(void);
/* Around the sending of one session; nothing that is sent may be looked at afterwards. */
void h2_memory_take(void);
void h2_memory_give(void);

/* h2_codec.c */
/* To be given back by nghttp2_session_callbacks_del(). */
nghttp2_session_callbacks *h2_codec_callbacks(void);
/* Hands bytes to nghttp2: negative is what it says of them. */
ssize_t h2_codec_receive(struct h2 *h2, const uint8_t *bytes, size_t len);

/* h2_session.c; of a client with its preface staged, of both with their SETTINGS submitted. */
void h2_session_new(struct h2 *h2);
void h2_session_free(struct h2 *h2);
/* What a client's peer lets it open; does not unfold. */
struct h2_door h2_session_door(const struct h2 *h2);
/* Nothing moves for a while: holds as little as can be until h2_session() is called next. Not
 * inside of nghttp2's callbacks. */
void h2_session_fold(struct h2 *h2);
/* For builds that check assumptions: folds after every other turn, so that all tests are tests of
 * that as well. True. */
bool h2_session_rehearse(struct h2 *h2);
/* The GOAWAY that names the last stream; once. */
void h2_finish_drain(struct h2 *h2);

#endif
