/*
 * nft.h - nftables commands, handed to nft(8) as one transaction.
 *
 * The program and not its library: that one is GPL-2.0-only, which neither our licence nor that of
 * the DNS library mixes with, and a program that dies takes nobody with it. It is started without a
 * shell, with an empty environment, reads the commands from a file in memory and has ten seconds.
 *
 * Thread: any; blocks until it ends. It inherits CAP_NET_ADMIN (run/privileges.h).
 */
#ifndef ISTHMUS_ACCEPT_NFT_H
#define ISTHMUS_ACCEPT_NFT_H

#include "proxy/base/err.h"
#include "proxy/base/text.h"

/* 0, or -ERR_SYSTEM with nft's own words in *why and nothing changed. */
MUST_USE int nft_run(struct str commands, struct text *why);
#endif
