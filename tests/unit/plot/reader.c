/* SPDX-License-Identifier: BSD-2-Clause */

/* Recordings, by whomever they were made. */

#include <picture.h>
#include <plot/reader.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HEADER                                                                                     \
	"{\"ivshmem_recording\":1,\"date\":1700000000,\"interval\":1,\"target\":\"t\",\"size\":1}\n"
#define CHANNEL                                                                                    \
	"{\"t\":0,\"channel\":7,\"name\":\"x\",\"kind\":\"queue\",\"from\":\"a\",\"to\":\"b\",\"ring\":256}\n"

static struct ivshmem_error error;
static bool cut;

static int
read_text(const char *text, size_t length, struct data **ret_data)
{
	FILE *file = fmemopen((char *)(uintptr_t)text, length, "r");
	struct data *data = data_new();
	int r;

	CHECK(file && data);
	error.message[0] = 0;
	r = recording_read(file, data, &cut, &error);
	fclose(file);
	if (r == 0 && ret_data)
		*ret_data = data;
	else
		data_free(data);
	return r;
}

static struct data *
take(const char *text)
{
	struct data *data = NULL;

	CHECK_EQ(read_text(text, strlen(text), &data), 0);
	return data;
}

static void
refuse(const char *text, const char *words)
{
	CHECK(read_text(text, strlen(text), NULL) < 0);
	CHECK_HAS(error.message, words);
}

TEST(what_record_writes)
{
	struct data *data = take(HEADER CHANNEL
		"{\"t\":0.000,\"peers\":2,\"participants\":1,\"sample\":[[7,null,null,5,0.020,0.000]]}\n"
		"{\"t\":0.5,\"event\":\"died\",\"text\":\"somebody \\\"died\\\"\"}\n"
		"{\"t\":2,\"sample\":[[7,100,3.5,5,0.5,1.25]]}\n"
		"{\"t\":3,\"sample\":[[7,400,0,5,0.25,0.5]]}\n"
		"{\"t\":3.1,\"ping\":\"speed\",\"us\":[1.5,2,1000]}\n");
	const struct bin *all = &data->series[0].all;

	CHECK(!cut);
	CHECK_EQ(data->n_series, 1);
	CHECK_STR(data->series[0].name, "x");
	CHECK_STR(data->series[0].to, "b");
	CHECK_EQ(data->n_samples, 3);
	/* 100 for two seconds, and 400 for one. */
	CHECK_EQ((long)chart_value(all, CHART_BYTES), 200);
	CHECK_EQ((long)chart_top(all, CHART_BYTES), 400);
	CHECK(all->fill == 0.5 && all->waits == 1.25);
	CHECK_EQ(data->n_events, 1);
	CHECK_STR(data->events[0].text, "somebody \"died\"");
	CHECK_EQ(data->histogram.n, 3);
	CHECK(data->histogram.least == 1.5 && data->histogram.most == 1000);
	CHECK(data->end == 3.1);
	data_free(data);
}

TEST(keys_in_another_order_and_others)
{
	struct data *data = take(HEADER
		" { \"name\" : \"\\u00fc\\u0001\" , \"new\":{\"a\":[1,{}],\"b\":null}, \"channel\" : 0, \"t\":1 } \r\n"
		"{\"sample\":[[0,1,2,3,4,5,6]],\"t\":1}\n"
		"{\"t\":2,\"of another version\":true}\n");

	CHECK_STR(data->series[0].name, "\xc3\xbc?");
	data_free(data);
}

TEST(a_line_that_a_kill_has_cut)
{
	static const char whole[] = HEADER CHANNEL "{\"t\":1,\"sample\":[[7,1,2,3,0.1,5]]}";

	/* Wherever it was cut, what is before it counts. */
	for (size_t length = strlen(HEADER CHANNEL); length < strlen(whole); length++) {
		struct data *data;

		CHECK_EQ(read_text(whole, length, &data), 0);
		CHECK_EQ(cut, length > strlen(HEADER CHANNEL));
		CHECK_EQ(data->n_samples, 0);
		data_free(data);
	}
	/* If only the newline is missing, it is complete. */
	data_free(take(whole));
	CHECK(!cut);
}

TEST(what_is_no_recording)
{
	static const char *const texts[] = {"\n", "hello\n", "{}\n", "[1]\n", "{\"t\":1}\n",
		"{\"ivshmem_recording\":\"1\"}\n", "{\"ivshmem_recording\":1\n", "<svg/>",
		"\177ELF"};

	refuse("", "it is empty");
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refuse(texts[i], "line 1: this is no recording");
	refuse("{\"ivshmem_recording\":2}\n", "version 2");
	refuse("{\"ivshmem_recording\":1,\"interval\":-1}\n", "line 1: a time");
	refuse("{\"ivshmem_recording\":1,\"date\":1e99}\n", "line 1: a time");
}

TEST(errors_name_the_line)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{"garbage", "line 3: this is not a JSON object"},
		{"{\"t\":1", "line 3: this is not a JSON object"},
		{"{\"t\":1}}", "line 3: this is not a JSON object"},
		{"{\"t\":1,}", "line 3: this is not a JSON object"},
		{"{\"t\":nan}", "line 3: this is not a JSON object"},
		{"{\"t\":0x1}", "line 3: this is not a JSON object"},
		{"{\"t\":1,\"x\":\"\\q\"}", "line 3: this is not a JSON object"},
		{"{\"t\":1,\"x\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}",
			"line 3: this is not"},
		{"{\"event\":\"died\"}", "line 3: there is no time"},
		{"{\"t\":-1}", "line 3: there is no time"},
		{"{\"t\":1e12}", "line 3: there is no time"},
		{"{\"t\":1,\"channel\":7}", "line 3: there is a channel of this number"},
		{"{\"t\":1,\"channel\":1.5}", "line 3: the number of a channel"},
		{"{\"t\":1,\"channel\":-1}", "line 3: the number of a channel"},
		{"{\"t\":1,\"channel\":1e17}", "line 3: the number of a channel"},
		{"{\"t\":1,\"sample\":7}", "line 3: a sample is not an array"},
		{"{\"t\":1,\"sample\":[7]}", "line 3: a sample is not an array of arrays"},
		{"{\"t\":1,\"sample\":[[7,1]]}", "line 3: a channel in a sample has six numbers"},
		{"{\"t\":1,\"sample\":[[7,1,2,\"\",4,5]]}", "line 3: something in a sample"},
		{"{\"t\":1,\"sample\":[[7,1e300,2,3,4,5]]}", "line 3: a number in a sample"},
		{"{\"t\":1,\"sample\":[[8,1,2,3,4,5]]}", "line 3: a channel in a sample was not"},
		{"{\"t\":1,\"us\":[1,-1]}", "line 3: a round trip is not"},
		{"{\"t\":1,\"us\":{}}", "line 3: round trips are not an array"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[1024];

		snprintf(text, sizeof(text), HEADER CHANNEL "%s\n", bad[i].line);
		refuse(text, bad[i].words);
	}
	refuse(HEADER "{\"t\":2,\"sample\":[]}\n{\"t\":1,\"sample\":[]}\n",
		"line 3: this sample is older");
}

TEST(lines_that_are_too_long)
{
	char *text = malloc(LINE_MAX_BYTES + 1000);

	CHECK(text);
	strcpy(text, HEADER);
	memset(text + strlen(HEADER), ' ', LINE_MAX_BYTES + 1);
	text[strlen(HEADER) + LINE_MAX_BYTES + 1] = 0;
	refuse(text, "line 2: this line is longer");
	free(text);
}

/* ---- what does not grow --------------------------------------------------------------------- */

static void
add_samples(struct data *data, unsigned n, double step)
{
	struct series like = {.name = "x"};

	CHECK_EQ(data_add_channel(data, 1, &like), 0);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(data_begin_sample(data, i * step), 0);
		CHECK_EQ(data_add_row(data, 1, i == n / 2 ? 1000 : 10, -1, 0.5, 0), 0);
		data_end_sample(data, i * step);
	}
}

TEST(a_long_recording_has_as_many_points)
{
	static const unsigned numbers[] = {2, BINS, BINS + 1, 10 * BINS, 100 * BINS};

	for (unsigned k = 0; k < 5; k++) {
		struct data *data = data_new();
		unsigned n = 0;
		double top = 0;

		CHECK(data);
		data->interval = 0.5;
		add_samples(data, numbers[k], 0.5);
		for (unsigned i = 0; i < BINS; i++) {
			n += data->series[0].bins[i].n;
			top = fmax(top, data->series[0].bins[i].top_bytes);
		}
		CHECK_EQ(n, numbers[k]);
		/* A spike stays. */
		CHECK(top == 1000);
		CHECK(data->end / data->bin_seconds < BINS);
		data_free(data);
	}
}

TEST(connections_that_come_and_go_are_one_series)
{
	struct data *data = data_new();

	CHECK(data);
	for (uint64_t i = 0; i < 5000; i++) {
		struct series like = {.name = "ssh", .kind = "stream"};

		snprintf(like.from, sizeof(like.from), "%d", (int)(i % 300));
		CHECK_EQ(data_add_channel(data, i * 977, &like), 0);
	}
	CHECK_EQ(data->n_series, SERIES_MAX);
	CHECK(data->series[SERIES_MAX].bins);
	for (uint64_t i = 0; i < 5000; i++)
		CHECK_EQ(data_add_row(data, i * 977, 1, 1, 1, 1), 0);
	CHECK_EQ(data_add_row(data, 1, 1, 1, 1, 1), -ENOENT);
	data_free(data);
}

TEST(quantiles)
{
	struct data *data = data_new();

	CHECK(data);
	for (unsigned i = 1; i <= 1000; i++)
		data_add_round_trip(data, i);
	CHECK(fabs(histogram_quantile(&data->histogram, 0.5) / 500 - 1) < 0.02);
	CHECK(fabs(histogram_quantile(&data->histogram, 0.99) / 990 - 1) < 0.02);
	CHECK(histogram_quantile(&data->histogram, 1) <= 1000);
	data_add_round_trip(data, 0);
	data_add_round_trip(data, 1e15);
	CHECK_EQ(histogram_bucket(0), 0);
	CHECK(histogram_bucket(1e300) < BUCKETS);
	data_free(data);
}

/* ---- pictures ------------------------------------------------------------------------------- */

static char *
draw(const struct data *data, const char *title)
{
	char *text = picture_of(data, title);

	CHECK(text);
	return text;
}

TEST(a_picture_of_nothing)
{
	struct data *data = take(HEADER);
	char *text = draw(data, NULL);

	CHECK_HAS(text, "nothing went through channels");
	CHECK_HAS(text, "</svg>");
	free(text);
	data_free(data);
}

TEST(names_are_escaped)
{
	struct data *data = take(HEADER
		"{\"t\":0,\"channel\":7,\"name\":\"</text><script>&\\\"'\",\"kind\":\"queue\"}\n"
		"{\"t\":0,\"event\":\"died\",\"text\":\"<b>\xff\xef\xbf\xbf\"}\n"
		"{\"t\":1,\"sample\":[[7,1,null,3,0.5,0]]}\n{\"t\":2,\"sample\":[[7,1,null,3,0.5,0]]}\n");
	char *text = draw(data, "<title>");

	CHECK_HAS(text, "&#60;/text&#62;&#60;script&#62;&#38;&#34;&#39;");
	CHECK_HAS(text, "&#60;b&#62;??");
	CHECK_HAS(text, "&#60;title&#62;");
	CHECK(!strstr(text, "<script") && !strstr(text, "<b>"));
	CHECK(!strstr(text, "nan") && !strstr(text, "inf"));
	free(text);
	data_free(data);
}

TEST(others_are_one_line)
{
	struct data *data = data_new();
	char *text;

	CHECK(data);
	data->interval = 1;
	for (unsigned i = 0; i < 20; i++) {
		struct series like = {.name = ""};

		snprintf(like.name, sizeof(like.name), "channel %02u", i);
		CHECK_EQ(data_add_channel(data, i, &like), 0);
	}
	for (unsigned t = 0; t < 3; t++) {
		CHECK_EQ(data_begin_sample(data, t), 0);
		for (unsigned i = 0; i < 20; i++)
			CHECK_EQ(data_add_row(data, i, 1024 * (i + 1), -1, 0.1, 0), 0);
		data_end_sample(data, t);
	}
	text = draw(data, NULL);
	CHECK_HAS(text, ">channel 19<");
	CHECK_HAS(text, ">channel 12<");
	CHECK(!strstr(text, "channel 11"));
	CHECK_HAS(text, ">12 others<");
	/* 1 to 12 KiB. */
	CHECK_HAS(text, ">78.0 KiB<");
	free(text);
	data_free(data);
}
