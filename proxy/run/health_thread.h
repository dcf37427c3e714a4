/*
 * health_thread.h - the thread that makes active health checks, so that nothing else that a node
 * does delays one.
 *
 *   workers ──what they use──► health thread ──what it found──► workers
 *   control ──snapshots, identities──► health thread ──rows of a page──► control
 *
 * A worker says about once a second which sets it uses, and is told in turn what is known of their
 * endpoints; a status that changes is told to all workers at once.
 *
 * Life: start -> deliveries and reports -> mute (nothing is posted to workers any more, so that
 * they may end) -> stop, once no worker can report any more.
 *
 * Owner: the proxy process. Thread: the control thread's, but for health_report().
 */
#ifndef ISTHMUS_RUN_HEALTH_THREAD_H
#define ISTHMUS_RUN_HEALTH_THREAD_H

#include "config/bootstrap.h"
#include "proxy/base/text.h"
#include "proxy/health/checker.h"
#include "proxy/io/thread.h"

struct health_thread;

/* config outlives the thread. control is the control thread's mailbox. */
struct health_thread *health_thread_start(const struct proxy_config *config,
                                          struct mailbox *control);
struct mailbox *health_thread_mailbox(struct health_thread *health);
/* For publications: the letter's delivery holds a struct snapshot / a struct tls_set. */
void health_deliver_snapshot(struct letter *letter, void *receiver);
void health_deliver_tls(struct letter *letter, void *receiver);
/* Turns the control thread's loop until the thread has promised to post to no worker. */
void health_thread_mute(struct health_thread *health, struct loop *control_loop);
void health_thread_stop(struct health_thread *health);

/* on_rows runs on the control thread with one JSON object an endpoint, separated by commas. */
void health_thread_ask(struct health_thread *health,
                       void (*on_rows)(void *owner, const struct text *rows), void *owner);

/* The endpoint sets that a worker uses. on_states runs in the worker's loop with its receiver, now
 * and whenever a status changes. Thread: the worker's. */
void health_report(struct mailbox *health, struct mailbox *worker, const struct health_use *uses,
                   size_t n_uses,
                   void (*on_states)(void *receiver, const struct health_state *states, size_t n));

#endif
