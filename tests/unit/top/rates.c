/* SPDX-License-Identifier: BSD-2-Clause */

/* What follows from two samples. */

#include "scene.h"

#include <top/events.h>

#include <test.h>

#include <errno.h>
#include <stdlib.h>

/* Numbers with a fraction, in thousandths. */
#define MILLI(value) ((long)((value)*1000 + ((value) < 0 ? -0.5 : 0.5)))

static void
add_stream(struct top_rates *rates, double seconds, uint64_t sent, uint64_t received)
{
	struct scene scene;

	scene_begin(&scene, seconds);
	scene_stream(&scene, sent, received);
	CHECK_EQ(top_rates_add(rates, &scene.sample), 0);
}

TEST(one_sample_has_no_rates)
{
	struct top_rates rates = {.n = 0};

	add_stream(&rates, 0, 500, 100);
	CHECK_EQ(rates.n, 2);
	CHECK_EQ(MILLI(rates.of[0].sent), -1000);
	CHECK_EQ(MILLI(rates.of[1].received), -1000);
	top_rates_free(&rates);
}

TEST(what_the_receiver_took_is_the_rate_of_both_ends)
{
	struct top_rates rates = {.n = 0};

	add_stream(&rates, 0, 500, 100);
	add_stream(&rates, 2, 900, 700);
	CHECK_EQ(MILLI(rates.of[0].sent), 300000);
	CHECK_EQ(MILLI(rates.of[1].received), 300000);
	CHECK_EQ(MILLI(rates.of[0].received), 0);
	CHECK_EQ(MILLI(rates.of[0].published), -1000);
	/* It does not go backwards, whatever somebody writes into the memory; nor does time. */
	add_stream(&rates, 3, 900, 0);
	CHECK_EQ(MILLI(rates.of[1].received), 0);
	add_stream(&rates, 3, 900, 500);
	CHECK_EQ(MILLI(rates.of[1].received), -1000);
	top_rates_free(&rates);
}

TEST(another_channel_in_the_same_place_is_new)
{
	struct top_rates rates = {.n = 0};
	struct scene scene;
	uint64_t serial;

	add_stream(&rates, 0, 500, 100);
	serial = top_rates_serial(&rates, 1);
	CHECK(top_rates_is_news(&rates, 1));
	CHECK(!top_rates_is_news(&rates, 1));
	add_stream(&rates, 1, 500, 200);
	CHECK_EQ(top_rates_serial(&rates, 1), serial);
	CHECK(!top_rates_is_news(&rates, 1));
	for (unsigned i = 0; i < 2; i++) {
		scene_begin(&scene, 2 + i);
		scene_stream(&scene, 500, 300);
		if (i == 0)
			scene.channels[1].generation = 2;
		else
			scene.channels[1].area_generation = 2;
		CHECK_EQ(top_rates_add(&rates, &scene.sample), 0);
		CHECK_EQ(MILLI(rates.of[1].received), -1000);
		CHECK(top_rates_serial(&rates, 1) > serial);
		CHECK(top_rates_is_news(&rates, 1));
	}
	/* In another group everything is. */
	scene.sample.group = 2;
	scene.sample.time += NSEC_PER_SEC;
	CHECK_EQ(top_rates_add(&rates, &scene.sample), 0);
	CHECK_EQ(MILLI(rates.of[1].received), -1000);
	top_rates_free(&rates);
}

TEST(one_that_goes_and_one_that_comes_do_not_confuse_the_others)
{
	struct top_rates rates = {.n = 0};
	struct scene scene;

	for (unsigned i = 0; i < 3; i++) {
		scene_begin(&scene, i);
		if (i != 1)
			scene_channel(&scene, 0, 0, IVSHMEM_STREAM, "listening");
		scene_end(&scene, 0, 1, 1, 0);
		if (i == 1)
			scene_channel(&scene, 0, 2, IVSHMEM_STREAM, "listening");
		scene_end(&scene, 1, 0, 0, 1)->received = 1000 * i;
		CHECK_EQ(top_rates_add(&rates, &scene.sample), 0);
		if (i > 0)
			CHECK_EQ(MILLI(rates.of[rates.n - 1].received), 1000000);
	}
	top_rates_free(&rates);
}

TEST(what_waits_has_waited_since_it_was_seen_first)
{
	static const struct {
		uint64_t sent, received;
		long waits; /* milliseconds */
	} looks[] = {
		{100, 100, 0},
		{200, 100, 0},
		{300, 100, 1000},
		{300, 100, 2000},
		/* What was sent at 1 is received; what is left is of 2. */
		{400, 200, 2000},
		{400, 250, 3000},
		{400, 400, 0},
	};
	struct top_rates rates = {.n = 0};

	for (unsigned i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		add_stream(&rates, i, looks[i].sent, looks[i].received);
		CHECK_EQ(MILLI(rates.of[0].waits), looks[i].waits);
	}
	top_rates_free(&rates);
}

/* With more samples than there are marks, the times are those of fewer of them, but never too long. */
TEST(waiting_times_are_never_too_long)
{
	struct top_rates rates = {.n = 0};

	for (unsigned i = 1; i <= 500; i++) {
		/* It is always 100 seconds behind, so what waits has waited for 99 at most. */
		add_stream(&rates, i, i * 10, i > 100 ? (i - 100) * 10 : 0);
		CHECK(rates.of[0].waits <= 99);
		if (i > 100)
			CHECK(rates.of[0].waits >= 75);
	}
	top_rates_free(&rates);
}

TEST(what_a_busy_ring_hides_is_not_known)
{
	struct top_rates rates = {.n = 0};
	struct scene scene;

	add_stream(&rates, 0, 500, 100);
	scene_begin(&scene, 1);
	scene_end(&scene, 0, 0, 1, 0);
	scene_end(&scene, 1, 0, 0, 0)->received = 600;
	CHECK_EQ(top_rates_add(&rates, &scene.sample), 0);
	CHECK_EQ(MILLI(rates.of[0].sent), 500000);
	CHECK_EQ(MILLI(rates.of[0].waits), 0);
	top_rates_free(&rates);
}

TEST(records_and_values_are_counted)
{
	struct top_rates rates = {.n = 0};
	struct scene scene;

	for (unsigned i = 0; i < 2; i++) {
		struct sample_channel *topic, *state, *reader;

		scene_begin(&scene, 0.5 * i);
		topic = scene_channel(&scene, 0, 0, IVSHMEM_TOPIC, "listening");
		topic->number = 10 * i;
		topic->sent = 1000 * i;
		state = scene_channel(&scene, 0, 1, IVSHMEM_STATE, "listening");
		state->number = 7 * i;
		reader = scene_channel(&scene, 1, 0, IVSHMEM_TOPIC, "connected");
		reader->has_peer = true;
		reader->received = 600 * i;
		reader->unread = 400 * i;
		CHECK_EQ(top_rates_add(&rates, &scene.sample), 0);
	}
	CHECK_EQ(MILLI(rates.of[0].published), 20000);
	CHECK_EQ(MILLI(rates.of[0].sent), 2000000);
	CHECK_EQ(MILLI(rates.of[0].received), -1000);
	CHECK_EQ(MILLI(rates.of[1].published), 14000);
	CHECK_EQ(MILLI(rates.of[1].sent), -1000);
	CHECK_EQ(MILLI(rates.of[2].received), 1200000);
	CHECK_EQ(MILLI(rates.of[2].published), -1000);
	top_rates_free(&rates);
}

/* One that connects knows the listener; the end that was made for it knows it. */
TEST(the_other_end_of_one_that_connects)
{
	struct scene scene;
	struct sample_channel *connecting;

	scene_begin(&scene, 0);
	connecting = scene_end(&scene, 0, 0, 1, 0);
	connecting->phase = "connecting";
	scene_channel(&scene, 1, 0, IVSHMEM_STREAM, "listening");
	CHECK(!sample_other_end(&scene.sample, connecting));
	scene_end(&scene, 1, 5, 0, 0);
	CHECK(sample_other_end(&scene.sample, connecting) == &scene.channels[2]);
	CHECK(sample_other_end(&scene.sample, &scene.channels[2]) == NULL ||
		sample_other_end(&scene.sample, &scene.channels[2]) == connecting);
	CHECK(!sample_find(&scene.sample, 1, 6));
	CHECK(!sample_find(&scene.sample, 7, 0));
}

/* ---- events --------------------------------------------------------------------------------- */

TEST(who_came_left_and_died)
{
	static const struct {
		int fate;
		enum top_event_type type;
	} fates[] = {{0, TOP_WENT}, {-ECONNRESET, TOP_DIED}, {-ENOENT, TOP_GONE}};
	struct top_events *events = calloc(1, sizeof(*events));
	struct sample_fate gone[3];
	struct scene before, after;
	char text[TOP_EVENT_TEXT_MAX];

	CHECK(events);
	scene_begin(&before, 0);
	scene_participant(&before, 0, "stays");
	scene_participant(&before, 1, "is another one");
	scene_begin(&after, 1);
	scene_participant(&after, 0, "stays");
	scene_participant(&after, 1, "is another one")->generation = 2;
	scene_participant(&after, 2, "new");
	for (unsigned i = 0; i < 3; i++)
		gone[i] = (struct sample_fate){before.participants[1], fates[i].fate};
	after.sample.fates = gone;
	after.sample.n_fates = 3;
	top_events_compare(events, &before.sample, &after.sample);
	CHECK_EQ(events->n, 5);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ((int)top_events_get(events, i)->type, (int)fates[i].type);
	CHECK_STR(top_event_text(top_events_get(events, 1), text),
		"\"is another one\" died (area 1, pid 1001)");
	CHECK_STR(
		top_event_text(top_events_get(events, 4), text), "\"new\" came (area 2, pid 1002)");
	CHECK(!top_events_get(events, 5));
	free(events);
}

TEST(old_events_give_way)
{
	struct top_events *events = calloc(1, sizeof(*events));
	struct top_event event = {.type = TOP_JOINED};

	CHECK(events);
	for (unsigned i = 0; i < TOP_EVENTS_MAX + 10; i++) {
		event.peer = (uint16_t)i;
		top_events_add(events, &event);
	}
	CHECK(!top_events_get(events, 9));
	CHECK_EQ(top_events_get(events, 10)->peer, 10);
	CHECK_EQ(top_events_get(events, TOP_EVENTS_MAX + 9)->peer, TOP_EVENTS_MAX + 9);
	free(events);
}
