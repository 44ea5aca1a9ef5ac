/* SPDX-License-Identifier: BSD-2-Clause */

/* The properties as text: the 2010 device's and today's. Nothing here touches a device. */

#include <device/personality.h>

#include <base/error.h>
#include <base/parse.h>
#include <base/sized.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- one line to properties ------------------------------------------------------------------ */

/* What may stand in front of the properties. */
enum kind { KIND_IVSHMEM = 1, KIND_PLAIN = 2, KIND_DOORBELL = 4 };

static const struct {
	const char *name;
	enum kind kind;
	unsigned revision;
} names[] = {
	{"ivshmem", KIND_IVSHMEM, 0},
	{"ivshmem-plain", KIND_PLAIN, 1},
	{"ivshmem-doorbell", KIND_DOORBELL, 1},
};

#define MEMBER(name) offsetof(struct ivshmem_device_properties, name)

static const struct property {
	const char *name;
	size_t member;
	unsigned kinds; /* which have it */
	bool is_switch;
	const char *instead; /* what a revision that does not have it can use */
} properties[] = {
	{"chardev", MEMBER(chardev), KIND_IVSHMEM | KIND_DOORBELL},
	{"shm", MEMBER(shm), KIND_IVSHMEM | KIND_PLAIN},
	{"memdev", MEMBER(memdev), KIND_PLAIN, .instead = "shm, or revision 1"},
	{"size", MEMBER(size), KIND_IVSHMEM | KIND_PLAIN},
	{"vectors", MEMBER(vectors), KIND_IVSHMEM | KIND_DOORBELL},
	{"ioeventfd", MEMBER(ioeventfd), KIND_IVSHMEM | KIND_DOORBELL, .is_switch = true},
	{"msi", MEMBER(msi), KIND_IVSHMEM | KIND_DOORBELL, .is_switch = true},
	{"role", MEMBER(role), KIND_IVSHMEM, .instead = "master=on, off or auto"},
	{"master", MEMBER(master), KIND_PLAIN | KIND_DOORBELL,
		.instead = "role=master or role=peer"},
	{"doorbell-bar", MEMBER(doorbell_bar), KIND_DOORBELL, .is_switch = true,
		.instead = "revision 1"},
};

#define N_PROPERTIES (sizeof(properties) / sizeof(properties[0]))

static const struct property *
property_find(const char *name)
{
	for (size_t i = 0; i < N_PROPERTIES; i++)
		if (strcmp(properties[i].name, name) == 0)
			return &properties[i];
	return NULL;
}

static void
property_set(struct ivshmem_device_properties *target, const struct property *property,
	const char *value)
{
	memcpy((char *)target + property->member, &value, sizeof(value));
}

static const char *
property_get(const struct ivshmem_device_properties *given, const struct property *property)
{
	const char *value;

	memcpy(&value, (const char *)given + property->member, sizeof(value));
	return value;
}

/* Cut the next element off `*text`, turning two commas into one; NULL at the end. */
static char *
next_element(char **text)
{
	char *element = *text, *from = element, *to = element;

	if (!element)
		return NULL;
	while (*from && !(from[0] == ',' && from[1] != ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*text = *from == ',' ? from + 1 : NULL;
	*to = '\0';
	return element;
}

static int
parse_element(char *element, enum kind kind, struct ivshmem_device_properties *result,
	struct ivshmem_error *reterr)
{
	const struct property *property;
	char *value = strchr(element, '=');
	const char *state = "on";

	if (value)
		*value++ = '\0';
	property = property_find(element);
	if (!property && !value && strncmp(element, "no", 2) == 0) {
		property = property_find(element + 2);
		state = "off";
	}
	if (!property)
		return error_set(reterr, -EINVAL, "there is no property '%s'", element);
	if (kind && !(property->kinds & kind))
		return error_set(reterr, -EINVAL,
			"this device has no property '%s': it belongs to another revision or kind",
			property->name);
	if (!value && !property->is_switch)
		return error_set(reterr, -EINVAL, "property '%s' needs a value", property->name);
	property_set(result, property, value ? value : state);
	return 0;
}

int
ivshmem_device_properties_parse(char *text, unsigned *ret_revision,
	struct ivshmem_device_properties *ret_properties, struct ivshmem_error *reterr)
{
	struct ivshmem_device_properties result = {0};
	unsigned revision = 0;
	enum kind kind = 0;
	bool first = true;
	char *element;
	int r = SIZED_CHECK(struct ivshmem_device_properties, doorbell_bar, ret_properties, reterr);

	if (r < 0)
		return r;
	if (*text == '\0')
		text = NULL;
	while ((element = next_element(&text))) {
		bool is_name = false;

		for (size_t i = 0; first && i < sizeof(names) / sizeof(names[0]); i++) {
			if (strcmp(element, names[i].name) != 0)
				continue;
			kind = names[i].kind;
			revision = names[i].revision;
			is_name = true;
		}
		first = false;
		if (is_name)
			continue;
		r = parse_element(element, kind, &result, reterr);
		if (r < 0)
			return r;
	}
	if (kind)
		*ret_revision = revision;
	sized_out(ret_properties, ret_properties->struct_size, &result, sizeof(result));
	return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

/*
 * In revision 1, size is not a property of QEMU but one of ours, written as everywhere in this
 * project.
 */
static int
parse_todays_size(const char *text, uint64_t *ret_size, struct ivshmem_error *reterr)
{
	uint64_t size;
	int r = parse_size(text, &size);

	if (r < 0)
		return error_set(reterr, r,
			r == -ERANGE
				? "size '%s' is too large"
				: "'%s' is not a size: write a number of bytes, or a number with K, M, G or T behind it",
			text);
	if (size == 0 || (size & (size - 1)) != 0)
		return error_set(
			reterr, -EINVAL, "size must be a power of two, which '%s' is not", text);
	if (size < IVSHMEM_DEVICE_MIN_MEMORY)
		return error_set(reterr, -EINVAL,
			"size '%s' is less than a page, 4096 bytes; for MiB, write %sM", text,
			text);
	*ret_size = size;
	return 0;
}

const struct dialect dialect_today = {
	.kinds = KIND_PLAIN | KIND_DOORBELL,
	.memory = "memdev (or shm)",
	.parse_size = parse_todays_size,
};

/* The 2010 device also took any text behind the suffix, 0, and numbers that overflow. */
static int
parse_size_of_2010(const char *text, uint64_t *ret_size, struct ivshmem_error *reterr)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t number = 0;
	unsigned shift = 20;
	bool fits = true;

	for (size_t i = 0; i < digits; i++)
		fits = fits && !__builtin_mul_overflow(number, (uint64_t)10, &number) &&
		       !__builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number);
	if (text[digits] == 'G' || text[digits] == 'g')
		shift = 30;
	else if (text[digits] != 'M' && text[digits] != 'm' && text[digits] != '\0')
		digits = 0;
	if (digits == 0 || (text[digits] != '\0' && text[digits + 1] != '\0'))
		return error_set(reterr, -EINVAL,
			"invalid RAM size: '%s'; give a number of MiB, or one with M or G behind it",
			text);
	if (!fits || number >> (63 - shift) != 0)
		return error_set(reterr, -ERANGE, "invalid RAM size: '%s' is too large", text);
	if (number == 0 || (number & (number - 1)) != 0)
		return error_set(
			reterr, -EINVAL, "size must be a power of two, which '%s' is not", text);
	*ret_size = number << shift;
	return 0;
}

const struct dialect dialect_2010 = {
	.kinds = KIND_IVSHMEM,
	.memory = "shm",
	.both = "both chardev and shm were given: shm is ignored, the memory comes from the server",
	.parse_size = parse_size_of_2010,
};

static int
parse_switch(const char *name, const char *text, bool *ret_on, struct ivshmem_error *reterr)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "n", "y"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i]) != 0)
			continue;
		*ret_on = i % 2 == 1;
		return 0;
	}
	return error_set(reterr, -EINVAL, "%s must be on or off, not '%s'", name, text);
}

static int
parse_vectors(const char *text, unsigned *ret_vectors, struct ivshmem_error *reterr)
{
	int r = parse_uint(text, 1, IVSHMEM_MAX_VECTORS, ret_vectors);

	if (r < 0)
		return error_set(reterr, r, "vectors must be a number from 1 to %d, not '%s'",
			IVSHMEM_MAX_VECTORS, text);
	return 0;
}

static int
parse_role(const char *text, enum ivshmem_device_master *ret_master, struct ivshmem_error *reterr)
{
	if (strcmp(text, "master") == 0)
		*ret_master = IVSHMEM_DEVICE_MASTER_ON;
	else if (strcmp(text, "peer") == 0)
		*ret_master = IVSHMEM_DEVICE_MASTER_OFF;
	else
		return error_set(reterr, -EINVAL, "role must be peer or master, not '%s'", text);
	return 0;
}

static int
parse_master(const char *text, enum ivshmem_device_master *ret_master, struct ivshmem_error *reterr)
{
	bool on = false;

	if (strcmp(text, "auto") == 0) {
		*ret_master = IVSHMEM_DEVICE_MASTER_AUTO;
		return 0;
	}
	if (parse_switch("master", text, &on, NULL) < 0)
		return error_set(reterr, -EINVAL, "master must be on, off or auto, not '%s'", text);
	*ret_master = on ? IVSHMEM_DEVICE_MASTER_ON : IVSHMEM_DEVICE_MASTER_OFF;
	return 0;
}

/* The 2010 device took any other character device, and then went on without a server. */
static int
check_chardev(const char *text, struct ivshmem_error *reterr)
{
	size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz");
	const char *path = text;

	if (text[scheme] == ':') {
		if (strncmp(text, "unix:", 5) != 0)
			return error_set(reterr, -EINVAL,
				"chardev must be a UNIX socket, unix:PATH or a path, not '%s'",
				text);
		path = text + 5;
	}
	if (*path == '\0')
		return error_set(reterr, -EINVAL, "chardev '%s' names no socket", text);
	return 0;
}

/* ---- properties to configuration ------------------------------------------------------------- */

static int
check_revision_properties(const struct ivshmem_device_properties *given,
	const struct personality *personality, struct ivshmem_error *reterr)
{
	for (size_t i = 0; i < N_PROPERTIES; i++) {
		const struct property *property = &properties[i];

		if (property_get(given, property) &&
			!(property->kinds & personality->dialect->kinds))
			return error_set(reterr, -EINVAL, "revision %u has no %s: use %s",
				personality->number, property->name, property->instead);
	}
	return 0;
}

static int
parse_values(const struct ivshmem_device_properties *given, const struct personality *personality,
	struct ivshmem_device_config *config, struct ivshmem_error *reterr)
{
	int r = 0;

	if (given->size)
		r = personality->dialect->parse_size(given->size, &config->memory_size, reterr);
	if (r >= 0 && given->vectors)
		r = parse_vectors(given->vectors, &config->vectors, reterr);
	if (r >= 0 && given->ioeventfd)
		r = parse_switch("ioeventfd", given->ioeventfd, &config->ioeventfd, reterr);
	if (r >= 0 && given->msi)
		r = parse_switch("msi", given->msi, &config->msi, reterr);
	if (r >= 0 && given->role)
		r = parse_role(given->role, &config->master, reterr);
	if (r >= 0 && given->master)
		r = parse_master(given->master, &config->master, reterr);
	if (r >= 0 && given->doorbell_bar)
		r = parse_switch(
			"doorbell-bar", given->doorbell_bar, &config->doorbell_bar, reterr);
	if (r >= 0 && given->chardev)
		r = check_chardev(given->chardev, reterr);
	return r;
}

static int
check_values(const struct ivshmem_device_properties *given, const struct personality *personality,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr)
{
	int r = personality_check_interrupts(personality, config, reterr);

	if (r < 0)
		return r;
	if (config->doorbell_bar && !given->chardev)
		return error_set(reterr, -EINVAL,
			"doorbell-bar needs a server: without one there is nobody to ring");
	if (given->size && config->memory_size > personality->max_memory)
		return error_set(reterr, -ERANGE,
			"size '%s' is more than revision %u allows: at most %" PRIu64 " MiB",
			given->size, personality->number, personality->max_memory >> 20);
	return 0;
}

static int
check_source(const struct ivshmem_device_properties *given, const struct personality *personality,
	const char **ret_warning, struct ivshmem_error *reterr)
{
	unsigned n =
		(given->chardev ? 1u : 0u) + (given->shm ? 1u : 0u) + (given->memdev ? 1u : 0u);

	*ret_warning = NULL;
	if (n == 0)
		return error_set(
			reterr, -EINVAL, "must give chardev or %s", personality->dialect->memory);
	if (given->shm && !given->chardev && *given->shm == '\0')
		return error_set(reterr, -EINVAL, "shm must name an object");
	if (n == 1)
		return 0;
	if (!personality->dialect->both)
		return error_set(reterr, -EINVAL,
			"the memory can come from one place only: give one of chardev, shm and memdev");
	*ret_warning = personality->dialect->both;
	return 0;
}

int
ivshmem_device_configure(const struct ivshmem_device_properties *theirs, unsigned number,
	struct ivshmem_device_config *ret_config, const char **ret_warning,
	struct ivshmem_error *reterr)
{
	const struct personality *personality = personality_find(number);
	struct ivshmem_device_properties given;
	struct ivshmem_device_config config;
	const char *warning;
	int r;

	r = SIZED_IN(struct ivshmem_device_properties, doorbell_bar, &given, theirs, reterr);
	if (r == 0)
		r = SIZED_CHECK(struct ivshmem_device_config, data, ret_config, reterr);
	if (r < 0)
		return r;
	if (!personality)
		return error_set(reterr, -EINVAL, "revision must be 0 or 1, not %u", number);
	ivshmem_device_config_init(&config, sizeof(config), number);
	r = check_revision_properties(&given, personality, reterr);
	if (r >= 0)
		r = parse_values(&given, personality, &config, reterr);
	if (r >= 0)
		r = check_values(&given, personality, &config, reterr);
	if (r >= 0)
		r = check_source(&given, personality, &warning, reterr);
	if (r < 0)
		return r;
	config.server = given.chardev != NULL;
	sized_out(ret_config, ret_config->struct_size, &config, sizeof(config));
	if (ret_warning)
		*ret_warning = warning;
	return 0;
}
