/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_SAMPLE_JSON_H
#define TOP_SAMPLE_JSON_H

#include "top/rates.h"

/* Print a sample as one document. With `rated`, there was one before it. */
void sample_json(const struct sample *sample, const struct top_rates *rates, bool rated);

/* What it looks like, for the help. */
#define SAMPLE_JSON_HELP                                                                              \
	"{\"version\":1,\"time\":SECONDS,\"target\":T,\"backend\":B,\"id\":I,\"vectors\":N,\n"        \
	" \"size\":BYTES,\"lost\":REASON,\"problem\":REASON,\"areas\":N,\n"                           \
	" \"peers\":[{\"id\":P,\"vectors\":N,\"rings\":[N,...]},...],\n"                              \
	" \"participants\":[{\"area\":A,\"name\":NAME,\"pid\":PID,\"here\":BOOL,\n"                   \
	" \"user\":USER,\"program\":PROGRAM,\"started\":SECONDS,\"peer\":P,\"vector\":V,\n"           \
	" \"channels\":[{\"channel\":C,\"name\":NAME,\n"                                              \
	" \"kind\":\"stream\"|\"queue\"|\"call\"|\"state\"|\"topic\",\n"                              \
	" \"phase\":\"listening\"|\"connecting\"|\"connected\"|\"ended\",\n"                          \
	" \"peer_area\":A,\"peer_channel\":C,\"ring_size\":BYTES,\n"                                  \
	" \"sent\":BYTES,\"unread\":BYTES,\"received\":BYTES,\"published\":N},...]},...]}\n"          \
	"The times are seconds since 1970. \"lost\" and \"problem\" are null if all is\n"             \
	"well, and so is what cannot be seen: \"peers\" in a guest and for memory alone;\n"           \
	"\"user\", \"program\" and \"started\" of a process of another machine, whose\n"              \
	"\"here\" is false; \"rings\", those that each vector of a peer waits with and the\n"         \
	"peer has not taken, without /proc. Else it is as channels --json has it. With --interval,\n" \
	"each channel also has \"received_per_second\":BYTES, \"sent_per_second\":BYTES,\n"           \
	"\"published_per_second\":N and \"waits\":SECONDS."

#endif
