/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_EVENTS_H
#define TRACE_EVENTS_H

/*
 * All events: X(name, number, arguments, what happened).
 *
 * The name is also that of the USDT probe. A number never changes, and that of an event that is no
 * more is not used again: so `ivshmem trace` can read processes of other versions. The arguments are
 * up to four words with a space between them, each with how to show it:
 *
 *	name	a number
 *	name:i	a number that may be negative
 *	name:x	a number, in hexadecimal
 *	name:e	0, or a negative errno
 *	name:k	a kind of channels (channel.h)
 *	name:s	the first 16 bytes of a name, which take two words
 */

#define TRACE_CLIENT_EVENTS(X)                                                                     \
	X(client_attached, 0x100, "id:i vectors size:x", "a client attached to its target")        \
	X(client_refused, 0x101, "error:e", "a client could not attach")                           \
	X(client_detached, 0x102, "id:i", "a client detached")                                     \
	X(client_lost, 0x103, "id:i error:e", "the server or the device is gone")                  \
	X(client_peer_joined, 0x104, "id:i peer vectors", "another peer joined")                   \
	X(client_peer_left, 0x105, "id:i peer", "another peer left")                               \
	X(client_ring, 0x106, "id:i peer vector error:e", "we rang a peer")                        \
	X(client_rung, 0x107, "id:i vector count", "we were rung")                                 \
	X(mark, 0x180, "text:s a b", "a mark of the application, ivshmem_trace_mark()")

#define TRACE_CHANNEL_EVENTS(X)                                                                    \
	X(area_taken, 0x200, "area generation areas", "a participant took an area")                \
	X(area_left, 0x201, "area", "a participant left its area")                                 \
	X(area_lost, 0x202, "area error:e", "our area is not ours any more")                       \
	X(area_dead, 0x203, "area:i of generation", "we found that another participant died")      \
	X(channel_sleep, 0x204, "area", "a participant goes to sleep")                             \
	X(channel_wake, 0x205, "area rung",                                                        \
		"it wakes up; rung 0: nobody rang, but something is there")                        \
	X(channel_rescue, 0x206, "area", "something was there, and nobody had rung")               \
	X(channel_ring, 0x207, "area of peer vector",                                              \
		"we ring another participant, that of area `of`")                                  \
	X(channel_listening, 0x210, "channel kind:k name:s", "a listener or publisher begins")     \
	X(channel_connecting, 0x211, "channel of name:s", "we connect to one of area `of`")        \
	X(channel_accepted, 0x212, "channel of peer_channel kind:k", "we accepted a connection")   \
	X(channel_connected, 0x213, "channel of peer_channel kind:k",                              \
		"our connection is accepted")                                                      \
	X(channel_aborted, 0x214, "channel", "we close a channel before its end")                  \
	X(channel_closed, 0x215, "channel sent received", "we closed a channel")                   \
	X(channel_failed, 0x216, "channel of error:e", "a channel ended with an error")            \
	X(violation, 0x217, "area of", "the participant of area `of` broke the rules")

#define TRACE_SERVER_EVENTS(X)                                                                     \
	X(server_started, 0x300, "vectors max_peers", "a server serves")                           \
	X(server_joined, 0x301, "peer:i pid user", "a client came; peer -1: an observer")          \
	X(server_left, 0x302, "peer:i pid", "a client left")                                       \
	X(server_cut, 0x303, "peer:i pid error:e", "we disconnected a client")                     \
	X(server_refused, 0x304, "error:e peers", "a newcomer was refused")                        \
	X(server_full, 0x305, "peer:i unread", "the socket of a client is full")                   \
	X(server_resumed, 0x306, "peer:i", "a client whose socket was full reads again")           \
	X(server_starved, 0x307, "peer:i error:e", "the kernel takes no more messages")            \
	X(server_paused, 0x308, "error:e", "newcomers wait, because none can be accepted")         \
	X(server_ended, 0x309, "peers", "a server ended")

#define TRACE_DEVICE_EVENTS(X)                                                                     \
	X(member_joined, 0x400, "id:i vectors size:x", "a device has its place in a group")        \
	X(member_left, 0x401, "id:i", "a device left its group")                                   \
	X(member_lost, 0x402, "id:i error:e", "the server of the group is gone")                   \
	X(member_peer_joined, 0x403, "id:i peer", "another peer joined")                           \
	X(member_peer_left, 0x404, "id:i peer", "another peer left")                               \
	X(member_ring, 0x405, "id:i peer vector", "the guest rings a peer, through us")            \
	X(member_rung, 0x406, "id:i vector count", "a peer rings the guest, through us")           \
	X(device_reset, 0x410, "id:i", "the device is reset")                                      \
	X(migration_state, 0x411, "from to error:e", "the VMM sets a state of the migration")

#define TRACE_VFIO_USER_EVENTS(X)                                                                  \
	X(vmm_connected, 0x500, "pid user", "a VMM connected")                                     \
	X(vmm_disconnected, 0x501, "pid error:e", "a VMM disconnected")                            \
	X(vmm_request, 0x502, "command size descriptors", "a request, but no access")              \
	X(vmm_refused, 0x503, "command size descriptors error:e", "a request that was refused")    \
	X(vmm_interrupt, 0x504, "index number", "we interrupt the guest")

#define TRACE_KVM_EVENTS(X)                                                                        \
	X(kvm_memory, 0x600, "address:x size:x error:e", "the memory is mapped; size 0: unmapped") \
	X(kvm_ioeventfd_refused, 0x601, "peer vector error:e", "an ioeventfd could not be added")  \
	X(kvm_irqfd, 0x602, "vector added error:e", "an irqfd was attached or detached")           \
	X(kvm_message, 0x603, "vector error:e", "we interrupt the guest by a message")

#define TRACE_EVENTS(X)                                                                            \
	TRACE_CLIENT_EVENTS(X)                                                                     \
	TRACE_CHANNEL_EVENTS(X)                                                                    \
	TRACE_SERVER_EVENTS(X)                                                                     \
	TRACE_DEVICE_EVENTS(X)                                                                     \
	TRACE_VFIO_USER_EVENTS(X)                                                                  \
	TRACE_KVM_EVENTS(X)

#define TRACE_NUMBER(name, number, arguments, what) TRACE_##name = (number),
enum trace_number { TRACE_EVENTS(TRACE_NUMBER) };
#undef TRACE_NUMBER

#endif
