/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/kept.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

void
kept_init(struct kept *kept)
{
	kept->states[0] = kept->states[1] = (struct kept_state){.taken = true, .sent = true};
}

struct kept_state *
kept_state(struct kept *kept)
{
	return &kept->states[__atomic_load_n(&kept->current, __ATOMIC_ACQUIRE) & KEPT_STATE_BIT];
}

void
kept_flip(struct kept *kept, unsigned bits)
{
	/* The other thread may change the other bit. */
	__atomic_fetch_xor(&kept->current, bits, __ATOMIC_ACQ_REL);
}

void
kept_write(struct kept *kept, const struct channel *channel, const struct reply *reply, bool end)
{
	unsigned other = ~__atomic_load_n(&kept->current, __ATOMIC_ACQUIRE) & KEPT_STATE_BIT;
	struct kept_state *state = &kept->states[other];

	state->taken = true;
	state->half = channel->half;
	state->have = channel->have;
	state->consumed = channel->consumed;
	state->n_fds = channel->n_fds;
	memcpy(state->fds, channel->fds, channel->n_fds * sizeof(channel->fds[0]));
	state->sent = !reply;
	state->end = end;
	if (!reply)
		return;
	state->progress = 0;
	kept->out[0].message.msg_len = 0;
	state->length = sizeof(struct vfio_user_header) + reply->length;
	state->n_reply_fds = reply->n_fds;
	memcpy(state->reply_fds, reply->fds, reply->n_fds * sizeof(reply->fds[0]));
}

void
kept_read(struct kept *kept, struct channel *channel)
{
	const struct kept_state *state = kept_state(kept);

	channel->half = state->half;
	channel->buffer = kept->inbox[state->half];
	channel->have = state->have;
	channel->consumed = state->consumed;
	channel->n_fds = state->n_fds;
	memcpy(channel->fds, state->fds, state->n_fds * sizeof(channel->fds[0]));
	channel->left_over = kept_is_busy(kept);
}

bool
kept_is_busy(struct kept *kept)
{
	return !kept_state(kept)->taken && kept->in.message.msg_len > 0;
}

/* ---- receiving -------------------------------------------------------------------------------- */

static ssize_t
receive(struct channel *channel, size_t length, int flags)
{
	struct kept *kept = channel->kept;
	struct kept_header *in = &kept->in;
	/* Not one descriptor more: a surplus would have to be closed. */
	size_t room = (CHANNEL_MAX_FDS - channel->n_fds) * sizeof(int);

	/* A part of a message came, and more is needed. */
	if (channel->is_ahead) {
		kept_write(kept, channel, NULL, false);
		kept_flip(kept, KEPT_STATE_BIT);
		channel->is_ahead = false;
	}
	in->iov = (struct iovec){channel->buffer + channel->have, length};
	in->message = (struct mmsghdr){
		.msg_hdr =
			{
				.msg_iov = &in->iov,
				.msg_iovlen = 1,
				.msg_control = room ? in->control : NULL,
				.msg_controllen = room ? CMSG_LEN(room) : 0,
			},
	};
	__atomic_store_n(&kept_state(kept)->taken, false, __ATOMIC_RELEASE);
	return recvmmsg(channel->socket, &in->message, 1, flags | MSG_CMSG_CLOEXEC, NULL) < 0
		       ? -errno
		       : 0;
}

ssize_t
kept_receive(struct channel *channel, size_t length, int flags, struct msghdr **ret_message)
{
	struct mmsghdr *message = &channel->kept->in.message;
	ssize_t r = channel->left_over ? 0 : receive(channel, length, flags);

	if (r < 0)
		return r;
	channel->left_over = false;
	channel->is_ahead = true;
	*ret_message = &message->msg_hdr;
	return (ssize_t)message->msg_len;
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void
prepare(struct kept *kept, const struct kept_state *state, struct kept_header *out, size_t at)
{
	size_t size = state->n_reply_fds * sizeof(int);
	struct msghdr *message = &out->message.msg_hdr;
	struct cmsghdr *c;

	out->iov = (struct iovec){kept->outbox + at, state->length - at};
	*message = (struct msghdr){.msg_iov = &out->iov, .msg_iovlen = 1};
	/* They go with the first byte. */
	if (at > 0 || size == 0)
		return;
	message->msg_control = out->control;
	message->msg_controllen = CMSG_SPACE(size);
	c = CMSG_FIRSTHDR(message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), state->reply_fds, size);
}

static int
send_rest(struct kept *kept, struct kept_state *state, int socket)
{
	for (;;) {
		unsigned which = state->progress & 1;
		struct kept_header *out = &kept->out[which], *next = &kept->out[!which];
		size_t at = (state->progress >> 1) + out->message.msg_len;

		if (at >= state->length)
			return 0;
		next->message.msg_len = 0;
		__atomic_store_n(&state->progress, (uint64_t)at << 1 | !which, __ATOMIC_RELEASE);
		prepare(kept, state, next, at);
		if (sendmmsg(socket, &next->message, 1, MSG_NOSIGNAL) < 0 && errno != EINTR)
			return -errno;
	}
}

int
kept_send(struct channel *channel)
{
	struct kept_state *state = kept_state(channel->kept);
	int r = send_rest(channel->kept, state, channel->socket);

	__atomic_store_n(&state->sent, true, __ATOMIC_RELEASE);
	/* Nobody refers to them any more: not fd_close(). */
	for (unsigned i = 0; i < state->n_reply_fds; i++)
		close(state->reply_fds[i]);
	state->n_reply_fds = 0;
	return r;
}

/* ---- descriptors ------------------------------------------------------------------------------ */

void
kept_list(struct kept *kept, void (*note)(int fd, void *data), void *data)
{
	const struct kept_state *state = kept_state(kept);
	struct msghdr header = kept->in.message.msg_hdr;

	for (unsigned i = 0; i < state->n_fds; i++)
		note(state->fds[i].fd, data);
	for (unsigned i = 0; !state->sent && i < state->n_reply_fds; i++)
		note(state->reply_fds[i], data);
	if (!kept_is_busy(kept))
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			note(fd, data);
		}
	}
}
