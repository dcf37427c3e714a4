/*
 * process.h - signals and watched folders, as events of a loop.
 *
 * Thread: the control loop's.
 */
#ifndef ISTHMUS_IO_PROCESS_H
#define ISTHMUS_IO_PROCESS_H

#include "proxy/io/loop.h"

struct signal_watch;

/* Calls on_signal(owner, signum) in the loop. Also makes SIGPIPE ignored, once. */
struct signal_watch *signal_watch_open(struct loop *loop, int signum,
                                       void (*on_signal)(void *owner, int signum), void *owner);
void signal_watch_close(struct signal_watch *watch);

/* How much of the descriptors that this process may have is taken, in percent, by the lowest one
 * that is free: all below it are in use. 100 when there is none. Thread: any. */
unsigned process_descriptors_pct(void);

struct folder_watch;

/*
 * Calls on_change(owner) when something in a folder or file changed, after quiet_ns without a
 * further change, at the latest after 10 times that; also once every rescan_ns without any notice
 * (0: never), since some file systems send none. Watches the folder that holds path too, so that
 * the symlink swap by which Kubernetes updates mounted volumes is seen. What changed is for the
 * owner to find out.
 */
struct folder_watch *folder_watch_open(struct loop *loop, const char *path, uint64_t quiet_ns,
                                       uint64_t rescan_ns, void (*on_change)(void *owner),
                                       void *owner);
void folder_watch_close(struct folder_watch *watch);

#endif
