/*
 * captured_net.h - a network namespace of the test's own, with capture rules as on a node.
 *
 * 10.96.0.0/16 and fd96::/64 are the addresses of services. UDP to port 53 of any address is
 * redirected to port 15053, TCP to port 80 to port 15001, with the original destination kept
 * (TPROXY). Packets marked with CAPTURED_NET_MARK pass. 10.97.0.1 is a plain address of the node;
 * answers to transparent sockets find their way.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_IO_CAPTURED_NET_H
#define ISTHMUS_TESTS_UNIT_PROXY_IO_CAPTURED_NET_H

#include <stdbool.h>

#define CAPTURED_NET_MARK 7

/* Moves the calling process there. False where that needs rights, or tools, that are missing. */
bool captured_net_enter(void);

#endif
