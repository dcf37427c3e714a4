#include "proxy/health/standing.h"

const char *health_status_name(enum health_status status)
{
    static const char *const names[HEALTH_STATUSES] = {"unknown", "healthy", "unhealthy"};
    return names[status];
}

static void become(struct standing *standing, enum health_status status)
{
    *standing = (struct standing){.status = status};
}

/* One more result that speaks against the status; threshold 0 is 1. */
static void doubt(struct standing *standing, uint32_t threshold, enum health_status next)
{
    if (++standing->n_against >= threshold)
        become(standing, next);
}

void standing_note(struct standing *standing, const struct health_check *check, enum answer answer)
{
    const enum health_status status = standing->status;
    switch (answer) {
    case ANSWER_GOOD:
        if (status == HEALTH_BAD)
            doubt(standing, check->healthy_threshold, HEALTH_GOOD);
        else
            become(standing, HEALTH_GOOD);
        break;
    case ANSWER_NONE:
        if (status == HEALTH_GOOD)
            doubt(standing, check->unhealthy_threshold, HEALTH_BAD);
        else
            become(standing, HEALTH_BAD);
        break;
    case ANSWER_BAD: become(standing, HEALTH_BAD); break;
    case ANSWER_UNTOLD: become(standing, HEALTH_UNKNOWN); break;
    }
}
