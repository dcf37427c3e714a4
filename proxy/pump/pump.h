/*
 * pump.h - moves bytes between two streams until both directions ended, and counts them.
 *
 * Two directions, each a pipe of its own: data, end and back pressure of one never wait for the
 * other, so a half-closed connection keeps flowing the other way.
 *
 *   pipe:  OPEN ──end of the source──► ENDED (shutdown passed on)
 *   both ENDED and their queues empty: done, ERR_OK
 *   either stream fails, or time runs out: both are cut, done with the reason; a client that has
 *   the server's bytes to their end keeps them
 *
 * A direction that proved bulky between two sockets is handed to splice(2): its bytes are counted
 * here, but no longer seen.
 *
 * What a pipe holds is bounded by the write queue of its destination: when that is full the source
 * is paused.
 * Time: nothing moved (came or left) for idle_ns; or a direction ended and nothing moved
 * for half_close_ns.
 *
 * Owner:  embedded in the flow; it owns both streams from pump_start() until done. on_done comes
 * once, from the loop, with both streams closed; pump_cut() closes them without on_done. Thread:
 * the loop's. Units: ns, bytes.
 */
#ifndef ISTHMUS_PUMP_PUMP_H
#define ISTHMUS_PUMP_PUMP_H

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

struct pump_options {
    uint64_t idle_ns, half_close_ns;
    uint64_t splice_after_bytes; /* a direction that moved so many is moved by the kernel from there
                                    on, where both ends are TCP; 0: never */
    /* The server said something after the client had: how long after the client's last bytes. May
     * be NULL; neither stream may be touched from within. */
    void (*on_answer)(void *owner, uint64_t latency_ns);
    /* The client said this; the bytes are on their way already. May be NULL. */
    void (*on_client_data)(void *owner, struct slice bytes);
    /* Ends a direction in place of stream_shutdown(to). May be NULL. */
    void (*shut)(void *owner, struct stream *to);
    /* The server failed, or time ran out. True: the owner takes both streams back, and the pump is
     * over without on_done. May be NULL. */
    bool (*on_server_lost)(void *owner, int err);
    /* When the server has ended and its bytes have left it is over, whatever the client still had
     * to say. */
    bool ends_with_server;
    bool client_has_ended; /* before the start: its end will not be heard again */
    bool server_knows;     /* of that end: it is not told again */
    bool is_watched;       /* the owner sees to it that time runs out: pump_look() */
};

struct totals {
    uint64_t received; /* bytes from the client to the server */
    uint64_t sent;     /* bytes from the server to the client */
    uint64_t spliced;  /* of both: that the kernel moved */
    int err;           /* 0, or why it ended: -ERR_CLIENT_RESET, -ERR_IDLE_TIMEOUT, ... */
};

struct pump;

struct pipe {
    struct pump *pump;
    struct stream *from, *to;
    uint64_t bytes;
    uint64_t spliced;
    bool ended, is_paused, tried_splice;
};

struct pump {
    struct loop *loop;
    struct pump_options options;
    struct pipe up, down; /* client to server, server to client */
    struct timer timer;
    struct task last_look; /* at the end of the turn in which both directions have ended */
    uint64_t last_moved_ns;
    uint64_t asked_ns;   /* when the client said something that is not answered; 0: nothing */
    uint64_t left_bytes; /* what had left the queues at the last look */
    uint64_t pause_ns;   /* until the next look at the last bytes */
    void (*on_done)(void *owner, const struct totals *totals);
    void *owner;
    bool is_running;
};

void pump_start(struct pump *pump, struct loop *loop, struct stream *client, struct stream *server,
                const struct pump_options *options,
                void (*on_done)(void *owner, const struct totals *totals), void *owner);

/* Ends both directions now, abortively, for the reason err (< 0). Nothing is called. Harmless when
 * not running. */
struct totals pump_cut(struct pump *pump, int err);

/* A pump in which all has moved, but which has not looked yet, is done at once: on_done comes
 * before this returns true. */
bool pump_settle(struct pump *pump);

/* Gives both streams back to the owner, paused, as they are. */
void pump_release(struct pump *pump);

/* Ends a pump whose time has run out, as its timer would. Else when it is to be looked at again, at
 * the earliest; 0: it is over. */
uint64_t pump_look(struct pump *pump, uint64_t now_ns);

/* What has moved so far. */
struct totals pump_totals(const struct pump *pump);
/* Bytes that were taken from one side and not yet by the other; 0 when not running. */
size_t pump_held(const struct pump *pump);

#endif
