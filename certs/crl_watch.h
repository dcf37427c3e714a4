/*
 * crl_watch.h - the alarm for revocation lists that should have been replaced.
 *
 * A list that is past its next update stays in force (crl.h); that it is past must not go unseen.
 * So the trust map is followed: the first time at which an issuer's list is due is a metric, how
 * many trust domains are past it is another, and each passing and each end of it is a line of the
 * log, once.
 *
 * Owner: whoever holds the trust. Thread: the loop's. Units: wall clock in ns.
 */
#ifndef ISTHMUS_CERTS_CRL_WATCH_H
#define ISTHMUS_CERTS_CRL_WATCH_H

#include "certs/bundle.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"

struct crl_watch;

struct crl_watch *crl_watch_new(struct loop *loop, struct meter *meter);
/* The trust from now on; nothing of it is kept but names and times. */
void crl_watch_follow(struct crl_watch *watch, const struct trust *trust);
/* What the timer calls: what is past at now_ns is told. */
void crl_watch_look(struct crl_watch *watch, int64_t now_ns);
void crl_watch_free(struct crl_watch *watch);

#endif
