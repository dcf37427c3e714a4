/*
 * privileges.h - the process keeps the capabilities it needs and no others, and its memory to
 * itself.
 *
 * Source: capabilities(7), prctl(2), core(5); libcap-ng. Thread: the main one, before any other is
 * started.
 */
#ifndef ISTHMUS_RUN_PRIVILEGES_H
#define ISTHMUS_RUN_PRIVILEGES_H

/* proxy: CAP_NET_ADMIN (nftables, marks, transparent sockets) and CAP_NET_BIND_SERVICE (DNS answers
 * come from port 53). The name of the first of them that we do not have, for it cannot be gained;
 * NULL when both are there. Programs that are started have CAP_NET_ADMIN alone: nft
 * (accept/nft.h). Of root's that is so only where CAP_SETPCAP was there to bound them; where it was
 * not, as in a container that was given these two, they have both. */
const char *privileges_keep_network(void);
/* control: none. */
void privileges_drop_all(void);

/* Both hold private keys: no core is written when they crash, and no process of the same user
 * without CAP_SYS_PTRACE reads their memory. Sanitizers, which trace the process, are let be. */
void privileges_hide_memory(void);

#endif
