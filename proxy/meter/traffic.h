/*
 * traffic.h - the istio_tcp_* metrics with ztunnel's names and labels, and the istio_request* ones
 * with the names and labels of Istio's proxies, so that existing dashboards work.
 *
 * A series is one set of labels with its counters; flows of a worker that share the labels share
 * it. A flow borrows its series for its life, so its labels are also what the access log prints.
 *
 * Bound: TRAFFIC_SERIES_MAX series a worker, TRAFFIC_STRANGERS_MAX of them with names that a peer
 * may choose; beyond it flows count under a series whose labels are all "overflow" and
 * SERIES_OVERFLOW grows. Series without flows are forgotten only when their
 * workload left (traffic_forget_idle()).
 *
 * Owner:  the worker. Reports are copies that may cross threads.
 * Thread: the worker's; report functions: whoever holds the report.
 */
#ifndef ISTHMUS_METER_TRAFFIC_H
#define ISTHMUS_METER_TRAFFIC_H

#include "proxy/base/text.h"
#include "proxy/meter/verdicts.h"

#define TRAFFIC_SERIES_MAX    20000
#define TRAFFIC_STRANGERS_MAX 5000

enum traffic_label {
    LABEL_REPORTER, /* source | destination */
    LABEL_SOURCE_WORKLOAD,
    LABEL_SOURCE_CANONICAL_SERVICE,
    LABEL_SOURCE_CANONICAL_REVISION,
    LABEL_SOURCE_WORKLOAD_NAMESPACE,
    LABEL_SOURCE_PRINCIPAL,
    LABEL_SOURCE_APP,
    LABEL_SOURCE_VERSION,
    LABEL_SOURCE_CLUSTER,
    LABEL_DESTINATION_SERVICE,
    LABEL_DESTINATION_SERVICE_NAMESPACE,
    LABEL_DESTINATION_SERVICE_NAME,
    LABEL_DESTINATION_WORKLOAD,
    LABEL_DESTINATION_CANONICAL_SERVICE,
    LABEL_DESTINATION_CANONICAL_REVISION,
    LABEL_DESTINATION_WORKLOAD_NAMESPACE,
    LABEL_DESTINATION_PRINCIPAL,
    LABEL_DESTINATION_APP,
    LABEL_DESTINATION_VERSION,
    LABEL_DESTINATION_CLUSTER,
    LABEL_REQUEST_PROTOCOL,           /* tcp, http, grpc */
    LABEL_CONNECTION_SECURITY_POLICY, /* mutual_tls | unknown */
    TRAFFIC_LABELS,
    /* of requests alone; a connection's response_flags come from the reason at its end */
    LABEL_RESPONSE_CODE = TRAFFIC_LABELS,
    LABEL_GRPC_RESPONSE_STATUS, /* "" when it was no gRPC */
    LABEL_RESPONSE_FLAGS,       /* Envoy's words */
    REQUEST_LABELS
};

#define TRAFFIC_LABEL_BYTES_MAX 2048 /* a SPIFFE ID at its longest; what is longer is cut */

struct traffic_labels { /* borrowed; an empty value is written as "unknown" */
    struct str value[REQUEST_LABELS];
    bool are_strangers; /* an end is none that we know: what it is called is for its peer to say */
};

struct traffic_request {
    uint64_t duration_ns;
    uint64_t request_bytes, response_bytes; /* of the bodies */
};

struct traffic;
struct traffic_series;
struct traffic_report;

struct traffic *traffic_new(void);
void traffic_free(struct traffic *traffic);

/* The series of these labels, made on first use; counts one more flow on it and one more opened
 * connection. */
struct traffic_series *traffic_open(struct traffic *traffic, const struct traffic_labels *labels);
/* All labels' values by enum traffic_label, to be borrowed as long as the flow is open; NULL for
 * the series of those that did not fit, whose labels are nobody's. */
const struct str *traffic_names(const struct traffic *traffic, const struct traffic_series *series);
/* The value of a label, "" when it was empty; borrowed while the flow is open. */
struct str traffic_label(const struct traffic_series *series, enum traffic_label label);
/* Bytes so far: received are the client's (request) bytes, sent are the server's, for both
 * reporters. */
void traffic_bytes(struct traffic_series *series, uint64_t received, uint64_t sent);
/* The flow ended for the reason err (enum err): closed is counted under the reason's response flag,
 * failed too unless it is ERR_OK or a plain reset. The series must not be used by the flow any
 * more. */
void traffic_close(struct traffic_series *series, int err);

/* One HTTP request has ended. Answers its series, for more of the same. */
struct traffic_series *traffic_request(struct traffic *traffic, const struct traffic_labels *labels,
                                       const struct traffic_request *request);
void traffic_request_again(struct traffic_series *series, const struct traffic_request *request);
/* Keeps a series that nobody has open, and its names; accepts NULL. */
void traffic_hold(struct traffic_series *series);
void traffic_let_go(struct traffic_series *series);

/* A policy, "" when none decided, has said so of a connection or a request. */
void traffic_verdict(struct traffic *traffic, struct str policy, enum verdict_said said);
/* Where that is counted, for who says it often; as long as traffic is. */
struct verdict_counters *traffic_policy(struct traffic *traffic, struct str policy);

/* Forgets the series that nobody has open or holds, whose reporter is this workload (the source's
 * for "source", the destination's for "destination"): it left the node, and a node lives longer
 * than its pods. Returns how many. */
size_t traffic_forget_idle(struct traffic *traffic, struct str workload_namespace,
                           struct str workload);

/* A copy of everything, to be sent to the scraping thread. It may be made in pieces, with other
 * work of the worker in between: each series is then in it with all of its numbers from one moment,
 * that in which it was copied. Those that came after the beginning are not in it, nor those that
 * were forgotten before it came to them; so none is in it twice. Several may be under way. */
struct traffic_copy *traffic_copy_new(struct traffic *traffic);
/* So many series more, at most. True: there are more. */
bool traffic_copy_go_on(struct traffic_copy *copy, unsigned n_series);
/* Frees it. The report has all series, those that are left copied now. Before traffic goes. */
struct traffic_report *traffic_copy_end(struct traffic_copy *copy);
/* The same in one go. */
struct traffic_report *traffic_report_of(struct traffic *traffic);
/* Adds from into into and frees from. */
void traffic_report_merge(struct traffic_report *into, struct traffic_report *from);
/* The Prometheus text of istio_tcp_connections_opened_total, _closed_total, _failed_total, sent and
 * received bytes; of istio_requests_total and its histograms; of the verdicts. */
void traffic_report_write(const struct traffic_report *report, struct text *out);
void traffic_report_free(struct traffic_report *report);

#endif
