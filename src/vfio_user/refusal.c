/* SPDX-License-Identifier: BSD-2-Clause */
#include <refusal.h>

#include <channel.h>
#include <clock.h>
#include <fd.h>
#include <list.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PATIENCE (5 * NSEC_PER_SEC)

void
refusals_init(struct refusals *refusals, struct loop *loop)
{
	*refusals = (struct refusals){.loop = loop};
	for (unsigned i = 0; i < REFUSALS; i++)
		refusals->at_work[i].source.fd = -1;
}

static void
end(struct refusal *refusal)
{
	loop_timer_cancel(&refusal->timer);
	if (refusal->source.fd >= 0) {
		loop_del(&refusal->source);
		channel_shut(refusal->source.fd);
		refusal->source.fd = fd_close(refusal->source.fd);
	}
}

static void
time_out(struct loop_timer *timer)
{
	end(container_of(timer, struct refusal, timer));
}

static void
readable(struct loop_source *source, uint32_t events)
{
	struct refusal *refusal = container_of(source, struct refusal, source);
	struct vfio_user_header header;
	ssize_t n;

	(void)events;
	/* All of a header or nothing: no VMM sends it in pieces, and there is no more to lose. */
	n = recv(source->fd, &header, sizeof(header), MSG_DONTWAIT);
	if (n == (ssize_t)sizeof(header) && !(header.flags & VFIO_USER_NO_REPLY)) {
		header.size = sizeof(header);
		header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR;
		header.error = EBUSY;
		/* If it does not take these few bytes, it does not want them. */
		send(source->fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	end(refusal);
}

void
refusals_done(struct refusals *refusals)
{
	for (unsigned i = 0; i < REFUSALS; i++)
		end(&refusals->at_work[i]);
}

void
refusals_add(struct refusals *refusals, int *socket)
{
	struct refusal *refusal = &refusals->at_work[0];

	for (unsigned i = 0; i < REFUSALS && refusal->source.fd >= 0; i++)
		if (refusals->at_work[i].source.fd < 0 ||
			refusals->at_work[i].timer.deadline < refusal->timer.deadline)
			refusal = &refusals->at_work[i];
	end(refusal);
	if (loop_add(refusals->loop, &refusal->source, *socket, EPOLLIN, readable) < 0) {
		/* No memory to watch it: it hears nothing. */
		channel_shut(*socket);
		*socket = fd_close(*socket);
		return;
	}
	fd_take(socket);
	loop_timer_set(refusals->loop, &refusal->timer, clock_now() + PATIENCE, time_out);
}
