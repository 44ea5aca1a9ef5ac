/* SPDX-License-Identifier: BSD-2-Clause */

/* Command lines of virtual machine monitors: words, options, JSON. */

#include <vmm_options.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words with a | behind each, as there is none in them. */
static char *
join(const struct vmm_words *words)
{
	static char text[1024];

	text[0] = '\0';
	for (size_t i = 0; i < words->n; i++) {
		strncat(text, words->words[i], sizeof(text) - strlen(text) - 1);
		strncat(text, "|", sizeof(text) - strlen(text) - 1);
	}
	return text;
}

static void
check_words(const char *text, const char *expected)
{
	struct vmm_words words;

	CHECK_EQ(vmm_words_split(&words, text, strlen(text)), 0);
	CHECK_STR(join(&words), expected);
	vmm_words_free(&words);
}

TEST(words_of_a_shell)
{
	check_words("kvm", "kvm|");
	check_words("  kvm\t-a  b \n", "kvm|-a|b|");
	check_words("kvm 'a b' \"c d\" e\\ f ''", "kvm|a b|c d|e f||");
	check_words("kvm 'a\\b\"c' \"d'\\\"e\\$\\x\"", "kvm|a\\b\"c|d'\"e$\\x|");
	check_words("kvm a'b'\"c\"d", "kvm|abcd|");
	check_words("kvm \\\n  -a \\\n-b", "kvm|-a|-b|");
	check_words("kvm a\\\nb", "kvm|ab|");
	check_words("kvm a >log 2>&1", "kvm|a|log|2|");
	check_words("kvm a\\", "kvm|a|");
}

TEST(the_first_command_with_a_vmm_counts)
{
	check_words(
		"#!/bin/sh\n# kvm -no\nset -e\nmodprobe kvm_intel; exec sudo -u x /usr/bin/kvm -a &\nkvm -b\n",
		"/usr/bin/kvm|-a|");
	check_words("a && qemu-system-aarch64 -a || kvm -b", "qemu-system-aarch64|-a|");
	check_words("echo hello | ./cloud-hypervisor-static --memory size=1G",
		"./cloud-hypervisor-static|--memory|size=1G|");
	check_words("kvm#no -a\nqemu-kvm -b", "qemu-kvm|-b|");
}

TEST(kinds)
{
	CHECK_EQ(vmm_kind_of("qemu-system-x86_64"), VMM_QEMU);
	CHECK_EQ(vmm_kind_of("/opt/x/qemu-kvm"), VMM_QEMU);
	CHECK_EQ(vmm_kind_of("/kvm/qemu-img"), VMM_NONE);
	CHECK_EQ(vmm_kind_of("/usr/bin/cloud-hypervisor"), VMM_CLOUD_HYPERVISOR);
	CHECK_EQ(vmm_kind_of(""), VMM_NONE);
	CHECK_EQ(vmm_kind_of("kvm/"), VMM_NONE);
	CHECK_EQ(vmm_kind_of("qemu-system-x86_64 -S"), VMM_NONE);
}

TEST(words_of_proc)
{
	static const char text[] = "/usr/bin/qemu-system-x86_64\0-name\0a 'b\0\0-S";
	struct vmm_words words;

	CHECK_EQ(vmm_words_split(&words, text, sizeof(text)), 0);
	CHECK_STR(join(&words), "/usr/bin/qemu-system-x86_64|-name|a 'b||-S|");
	vmm_words_free(&words);
	/* The NUL at the end may be missing. */
	CHECK_EQ(vmm_words_split(&words, text, sizeof(text) - 1), 0);
	CHECK_STR(join(&words), "/usr/bin/qemu-system-x86_64|-name|a 'b||-S|");
	vmm_words_free(&words);
}

TEST(no_words)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = {
		{"", -ENOENT},
		{"\n\n", -ENOENT},
		{"ls -l", -ENOENT},
		{"# kvm", -ENOENT},
		{"kvm 'a", -EINVAL},
		{"kvm \"a", -EINVAL},
		{"kvm \"a\\\"", -EINVAL},
	};
	struct vmm_words words = {.n = 77};
	char *much = calloc(1, VMM_LINE_MAX + 1);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_EQ(vmm_words_split(&words, rows[i].text, strlen(rows[i].text)), rows[i].r);
	CHECK(much);
	CHECK_EQ(vmm_words_split(&words, much, VMM_LINE_MAX + 1), -E2BIG);
	memcpy(much, "kvm", 3);
	CHECK_EQ(words.n, 77);
	/* As many words as there can be: all but one are empty. */
	CHECK_EQ(vmm_words_split(&words, much, VMM_LINE_MAX), 0);
	CHECK_EQ(words.n, VMM_LINE_MAX - 3);
	vmm_words_free(&words);
	free(much);
}

/* ---- options --------------------------------------------------------------------------------- */

struct line {
	struct vmm_words words;
	struct vmm_options options;
};

static struct line
parse(const char *text)
{
	struct line line;

	CHECK_EQ(vmm_words_split(&line.words, text, strlen(text)), 0);
	CHECK_EQ(vmm_options_parse(&line.options, &line.words), 0);
	return line;
}

static void
clear(struct line *line)
{
	vmm_options_free(&line->options);
	vmm_words_free(&line->words);
}

/* The pairs of the only option as key=value| */
static char *
pairs(const struct vmm_options *options)
{
	static char text[4096];
	size_t length = 0;

	CHECK_EQ(options->n, 1);
	text[0] = '\0';
	for (size_t i = 0; i < options->options[0].n && length < sizeof(text); i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s=%s|",
			options->options[0].pairs[i].key, options->options[0].pairs[i].value);
	return text;
}

static void
check_pairs(const char *text, const char *expected)
{
	struct line line = parse(text);

	CHECK_STR(pairs(&line.options), expected);
	clear(&line);
}

TEST(pairs_of_an_option)
{
	check_pairs("kvm -device x,a=b,c=d", "=x|a=b|c=d|");
	check_pairs("kvm -device a=b", "a=b|");
	check_pairs("kvm --device x", "=x|");
	check_pairs("kvm -device x,server,nowait,no", "=x|server=on|wait=off|no=on|");
	check_pairs("kvm -chardev x,path=a,,b,,,c=d", "=x|path=a,b,|c=d|");
	check_pairs("kvm -device ,,", "=,|");
	check_pairs("kvm -device x,,y=1", "x,y=1|");
	check_pairs("kvm -device x,a=,b==,=c", "=x|a=|b==|=c|");
	check_pairs("kvm -device x,", "=x|");
	check_pairs("kvm -S", "");
	check_pairs("kvm -device ''", "");
	check_pairs("kvm disk -S disk", "=disk|");
}

TEST(pairs_of_json)
{
	check_pairs("kvm -device '{\"a\":\"b\",\"c\":{\"d\":1,\"e\":{\"f\":true}},\"g\":false}'",
		"a=b|c.d=1|c.e.f=on|g=off|");
	check_pairs(
		"kvm -device '{ \"a\" : [ 1 , { \"b\" : \"c\" } , [ ] , \"d\" ], \"e\": null, \"f\": -1.5e3 }'",
		"a.0=1|a.1.b=c|a.3=d|f=-1.5e3|");
	check_pairs("kvm -device '{\"a\":\"\\\"\\\\\\/\\u0041\\u00e4\\u20ac\\ud800\\u0000\"}'",
		"a=\"\\/A\xc3\xa4\xe2\x82\xac??|");
	check_pairs("kvm -device '{}'", "");
}

TEST(what_is_no_json_is_left_out)
{
	static const char *const rows[] = {"{", "{a:1}", "{\"a\"", "{\"a\":", "{\"a\":}",
		"{\"a\":\"b", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12x4\"}",
		"{\"a\":[", "{,}", "{\"a\":A}"};
	char text[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "kvm -device '%s'", rows[i]);
		check_pairs(text, "");
	}
	check_pairs("kvm -device '{\"a\":1,\"b\":}'", "a=1|");
	check_pairs("kvm -device '{\"a\":1 \"b\":2}'", "a=1|");
	check_pairs("kvm -device '{\"a\":1}garbage'", "a=1|");
}

TEST(json_without_end)
{
	static char text[400000];
	struct line line;
	size_t length = 0;

	/* Deep, with long keys, and much of it. */
	length += (size_t)snprintf(text, sizeof(text), "kvm -device '");
	while (length < sizeof(text) - 8)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "{\"k\":");
	snprintf(text + length, sizeof(text) - length, "'");
	line = parse(text);
	CHECK_EQ(line.options.options[0].n, 0);
	clear(&line);

	length = (size_t)snprintf(text, sizeof(text), "kvm -device '{\"a\":[");
	while (length < sizeof(text) - 8)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "1,");
	snprintf(text + length, sizeof(text) - length, "1]}'");
	line = parse(text);
	CHECK_EQ(line.options.options[0].n, VMM_PAIRS_MOST);
	clear(&line);

	length = (size_t)snprintf(text, sizeof(text), "kvm -device '{\"");
	memset(text + length, 'k', sizeof(text) - length);
	memcpy(text + sizeof(text) - 8, "\":1}'\0", 7);
	line = parse(text);
	CHECK_EQ(line.options.options[0].n, 0);
	clear(&line);
}

TEST(questions)
{
	struct line line = parse(
		"kvm -m 4 -m 1.5G -m size=64M,slots=2 -device x,id=a,on=on,off=off,yes=yes,no=maybe,id=b"
		" -device driver=y -m 99999999999999999999 -m 18446744073709551615");
	const struct vmm_option *m = NULL, *device = NULL;

	m = vmm_options_next(&line.options, "m", m);
	CHECK_EQ(vmm_option_size(m, "", UINT64_C(1) << 20), UINT64_C(4) << 20);
	m = vmm_options_next(&line.options, "m", m);
	CHECK_EQ(vmm_option_size(m, "", UINT64_C(1) << 20), UINT64_C(1536) << 20);
	m = vmm_options_next(&line.options, "m", m);
	CHECK_EQ(vmm_option_size(m, "size", 1), UINT64_C(64) << 20);
	CHECK_EQ(vmm_option_size(m, "none", 1), 0);
	m = vmm_options_next(&line.options, "m", m);
	CHECK_EQ(vmm_option_size(m, "", 1), 0);
	m = vmm_options_next(&line.options, "m", m);
	CHECK_EQ(vmm_option_size(m, "", UINT64_C(1) << 20), 0);
	CHECK(!vmm_options_next(&line.options, "m", m));

	device = vmm_options_next(&line.options, "device", NULL);
	CHECK_STR(vmm_option_type(device, "driver"), "x");
	CHECK_STR(vmm_option_get(device, "id"), "b");
	CHECK(!vmm_option_get(device, "i"));
	CHECK(vmm_option_is_on(device, "on", false) && vmm_option_is_on(device, "yes", false));
	CHECK(!vmm_option_is_on(device, "off", true));
	CHECK(vmm_option_is_on(device, "no", true) && !vmm_option_is_on(device, "no", false));
	CHECK(vmm_option_is_on(device, "none", true));
	device = vmm_options_next(&line.options, "device", device);
	CHECK_STR(vmm_option_type(device, "driver"), "y");
	CHECK_STR(vmm_option_type(device, "other"), "");
	CHECK(vmm_options_have(&line.options, "device") &&
		!vmm_options_have(&line.options, "device-"));
	clear(&line);
}

TEST(options_of_cloud_hypervisor)
{
	struct line line = parse(
		"cloud-hypervisor --disk path=a path=b,c=d --memory=size=1G,shared=on --api-socket /s");
	const struct vmm_option *option = vmm_options_next(&line.options, "disk", NULL);

	CHECK_EQ(line.options.n, 4);
	CHECK_STR(vmm_option_get(option, "path"), "a");
	option = vmm_options_next(&line.options, "disk", option);
	CHECK_STR(vmm_option_get(option, "path"), "b");
	option = vmm_options_next(&line.options, "memory", NULL);
	CHECK(option && vmm_option_is_on(option, "shared", false));
	CHECK_EQ(vmm_option_size(option, "size", 1), UINT64_C(1) << 30);
	CHECK(vmm_options_have(&line.options, "api-socket"));
	clear(&line);
}

TEST(short_name_of_machine)
{
	struct line line = parse("kvm -M q35,kernel-irqchip=split");
	const struct vmm_option *machine = vmm_options_next(&line.options, "machine", NULL);

	CHECK(machine);
	CHECK_STR(vmm_option_type(machine, "type"), "q35");
	clear(&line);
	line = parse("cloud-hypervisor -M q35");
	CHECK(!vmm_options_have(&line.options, "machine"));
	clear(&line);
}

TEST(more_options_than_anybody_needs)
{
	const size_t n = VMM_OPTIONS_MOST + 5;
	char *text = malloc(4 + 3 * n + 1);
	struct line line;

	CHECK(text);
	memcpy(text, "kvm ", 5);
	for (size_t i = 0; i < n; i++)
		memcpy(text + 4 + 3 * i, "-a ", 4);
	line = parse(text);
	CHECK_EQ(line.options.n, VMM_OPTIONS_MOST);
	clear(&line);
	free(text);
}
