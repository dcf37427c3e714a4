/*
 * loopback.h - addresses of 127.0.0.0/8 that are this process's alone: a port there that is given
 * back is taken by nobody else until it is wanted again.
 */
#ifndef ISTHMUS_TESTS_KIT_LOOPBACK_H
#define ISTHMUS_TESTS_KIT_LOOPBACK_H

#include "proxy/base/addr.h"

#define LOOPBACK_OWN_MAX 4

/* The n-th of them, below LOOPBACK_OWN_MAX. */
struct ip loopback_own(unsigned n);

#endif
