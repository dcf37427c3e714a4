/*
 * drill_report.h - what a drill came to: judged, in words and as JSON.
 *
 * It passed when calls went to the cluster before, other clusters took them while it was out, no
 * more of them went to it in the last DRILL_SETTLED_NS of that, this took no longer than the tier
 * promises, and they came back to it after. A tier critical, and a service without a tier, loses no
 * call; other tiers may.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_CTL_DRILL_REPORT_H
#define ISTHMUS_CTL_DRILL_REPORT_H

#include "proxy/ctl/drill_run.h"

enum drill_verdict { DRILL_PASS, DRILL_FAIL, DRILL_REFUSED };

/* Sentences for what was not as it should be, a line each, are added to *why. */
enum drill_verdict drill_judge(const struct drill_wish *wish, const struct drill_outcome *outcome,
                               struct text *why);
void drill_print(const struct drill_wish *wish, const struct drill_outcome *outcome,
                 struct text *out);
void drill_print_json(const struct drill_wish *wish, const struct drill_outcome *outcome,
                      struct text *out);

#endif
