/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * memif, by DPDK's driver for it, which does what libmemif does. The driver copies packets into the
 * shared memory and out of it, so we do not copy them.
 *
 *	memif	packets of the record's length, 32 at a time, each with its number
 */
#include "sides.h"

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BURST 32u
#define PORT  0
#define MBUFS 8191u
#define CACHE 256u /* of these, for each processor */

static void
tell(int fd)
{
	if (write(fd, "", 1) < 0)
		sides_die("write", errno);
}

static void
be_told(int fd)
{
	char byte;

	if (read(fd, &byte, 1) < 0)
		sides_die("read", errno);
}

/* An interface, and the memory for its packets. The socket's name is abstract. */
static struct rte_mempool *
start_as(const char *role)
{
	char device[128], cpu[16];
	char *arguments[] = {"bench", "--lcores", cpu, "--no-huge", "-m", "64", "--no-pci",
		"--no-telemetry", "--no-shconf", "--log-level", "error", "--vdev", device, NULL};
	const struct rte_eth_conf conf = {0};
	struct rte_mempool *pool;
	int r;

	snprintf(cpu, sizeof(cpu), "0@%d", sched_getcpu());
	snprintf(device, sizeof(device), "net_memif0,role=%s,socket=ivshmem-bench-%d", role,
		(int)getppid());
	if (rte_eal_init(sizeof(arguments) / sizeof(arguments[0]) - 1, arguments) < 0)
		sides_die("rte_eal_init", rte_errno);
	pool = rte_pktmbuf_pool_create("bench", MBUFS, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (!pool)
		sides_die("rte_pktmbuf_pool_create", rte_errno);
	if ((r = rte_eth_dev_configure(PORT, 1, 1, &conf)) < 0 ||
		(r = rte_eth_rx_queue_setup(PORT, 0, 0, 0, NULL, pool)) < 0 ||
		(r = rte_eth_tx_queue_setup(PORT, 0, 0, 0, NULL)) < 0 ||
		(r = rte_eth_dev_start(PORT)) < 0)
		sides_die("rte_eth_dev_start", r);
	return pool;
}

static void
wait_for_link(void)
{
	struct rte_eth_link link;

	while (rte_eth_link_get_nowait(PORT, &link) == 0 && !link.link_status)
		usleep(1000);
}

static uint64_t *
number_of(struct rte_mbuf *packet)
{
	return rte_pktmbuf_mtod(packet, uint64_t *);
}

static void
send_packets(struct sides *sides)
{
	struct rte_mbuf *packets[BURST];
	struct rte_mempool *pool;

	/* Who connects before the server has started is turned away, and does not try again. */
	be_told(sides->fds[0]);
	pool = start_as("client");
	wait_for_link();
	sides_begin(sides);
	for (uint64_t sent = 0; sent < sides->count;) {
		uint64_t left = sides->count - sent;
		unsigned n = left < BURST ? (unsigned)left : BURST;

		while (rte_pktmbuf_alloc_bulk(pool, packets, n) < 0)
			sides_relax();
		for (unsigned i = 0; i < n; i++) {
			packets[i]->data_len = (uint16_t)sides->length;
			packets[i]->pkt_len = (uint32_t)sides->length;
			*number_of(packets[i]) = sent + i;
		}
		for (unsigned done = 0; done < n;) {
			unsigned more =
				rte_eth_tx_burst(PORT, 0, packets + done, (uint16_t)(n - done));

			if (more == 0)
				sides_relax();
			done += more;
		}
		sent += n;
	}
	be_told(sides->fds[0]);
}

static void
receive_packets(struct sides *sides)
{
	struct rte_mbuf *packets[BURST];

	start_as("server");
	tell(sides->fds[1]);
	wait_for_link();
	sides_begin(sides);
	for (uint64_t received = 0; received < sides->count;) {
		unsigned n = rte_eth_rx_burst(PORT, 0, packets, BURST);

		if (n == 0)
			sides_relax();
		for (unsigned i = 0; i < n; i++)
			if (packets[i]->pkt_len != sides->length ||
				*number_of(packets[i]) != received + i)
				sides_die("a packet is not the next one", EPROTO);
		rte_pktmbuf_free_bulk(packets, n);
		received += n;
	}
	sides_end(sides);
	tell(sides->fds[1]);
}

int
main(int argc, char **argv)
{
	static const struct sides_case cases[] = {{"memif", send_packets, receive_packets}};

	return sides_main(argc, argv, cases, 1);
}
