/* SPDX-License-Identifier: BSD-2-Clause */
#include <policy_options.h>

#include <base/error.h>
#include <common/accounts.h>
#include <server/policy.h>

#include <errno.h>
#include <string.h>

/* The longest name of a user or a group. */
#define NAME_MOST 256

typedef int (*word_fn)(
	void *to, const char *what, const char *word, struct ivshmem_error *reterr);

/* Call `take` with each word of a list with commas. */
static int
for_each_word(word_fn take, void *to, const char *what, const char *text,
	struct ivshmem_error *reterr)
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
	return error_set(
		reterr, -EINVAL, "%s: at most %d can be given", what, POLICY_ACCOUNTS_MAX);
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
