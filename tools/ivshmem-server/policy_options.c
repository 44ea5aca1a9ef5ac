/* SPDX-License-Identifier: BSD-2-Clause */
#include <policy_options.h>

#include <base/error.h>
#include <base/parse.h>
#include <common/accounts.h>
#include <server/policy.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The longest name of a user or a group. */
#define NAME_MOST 256

typedef int (*word_fn)(void *to, const char *what, const char *word, struct ivshmem_error *reterr);

/* Call `take` with each word of a list with commas. */
static int
for_each_word(
	word_fn take, void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	int r = 0;

	for (const char *next = text; r == 0 && next;) {
		size_t length = strcspn(next, ",");
		char word[NAME_MOST + 1];

		if (length == 0 || length > NAME_MOST)
			return error_set(reterr, -EINVAL,
				"%s: '%.100s' is not a list: write words with commas between them, such as 1000,1001",
				what, text);
		memcpy(word, next, length);
		word[length] = '\0';
		r = take(to, what, word, reterr);
		next = next[length] ? next + length + 1 : NULL;
	}
	return r;
}

static int
too_many(const char *what, struct ivshmem_error *reterr)
{
	return error_set(reterr, -EINVAL, "%s: at most %d can be given", what, POLICY_ACCOUNTS_MAX);
}

static int
take_user(void *to, const char *what, const char *word, struct ivshmem_error *reterr)
{
	struct policy_accounts *accounts = to;
	int r;

	if (accounts->n_users == POLICY_ACCOUNTS_MAX)
		return too_many(what, reterr);
	r = account_user(&accounts->users[accounts->n_users], what, word, reterr);
	if (r == 0)
		accounts->n_users++;
	return r;
}

static int
take_group(void *to, const char *what, const char *word, struct ivshmem_error *reterr)
{
	struct policy_accounts *accounts = to;
	int r;

	if (accounts->n_groups == POLICY_ACCOUNTS_MAX)
		return too_many(what, reterr);
	r = account_group(&accounts->groups[accounts->n_groups], what, word, reterr);
	if (r == 0)
		accounts->n_groups++;
	return r;
}

int
policy_take_users(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	return for_each_word(take_user, to, what, text, reterr);
}

int
policy_take_groups(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	return for_each_word(take_group, to, what, text, reterr);
}

#define STAR "star:"

static int
take_centre(void *to, const char *what, const char *word, struct ivshmem_error *reterr)
{
	struct policy *policy = to;
	unsigned id;

	if (parse_uint(word, 0, IVSHMEM_MAX_ID, &id) < 0)
		return error_set(reterr, -EINVAL, "%s: '%.100s' is not an id, 0 to %d", what, word,
			IVSHMEM_MAX_ID);
	if (policy->n_centres == POLICY_CENTRES_MAX)
		return error_set(reterr, -EINVAL, "%s: at most %d ids can be given", what,
			POLICY_CENTRES_MAX);
	policy->centres[policy->n_centres++] = (uint16_t)id;
	return 0;
}

static const char *const words[] = {
	[SEE_ALL] = "all",
	[SEE_STAR] = STAR,
	[SEE_PAIRS] = "pairs",
	[SEE_USERS] = "groups:user",
	[SEE_GROUPS] = "groups:group",
};

int
policy_take_see(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	struct policy *policy = to;

	policy->n_centres = 0;
	if (strncmp(text, STAR, strlen(STAR)) == 0) {
		policy->see = SEE_STAR;
		return for_each_word(take_centre, policy, what, text + strlen(STAR), reterr);
	}
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (i != SEE_STAR && strcmp(text, words[i]) == 0) {
			policy->see = (enum policy_see)i;
			return 0;
		}
	return error_set(reterr, -EINVAL,
		"%s: '%.100s' is none of all, star:ID,..., pairs, groups:user, groups:group", what,
		text);
}

void
policy_describe_see(const struct policy *policy, char text[POLICY_SEE_MAX])
{
	int n = snprintf(text, POLICY_SEE_MAX, "%s", words[policy->see]);

	for (unsigned i = 0; i < policy->n_centres; i++)
		n += snprintf(text + n, POLICY_SEE_MAX - (size_t)n, "%s%u", i ? "," : "",
			policy->centres[i]);
}
