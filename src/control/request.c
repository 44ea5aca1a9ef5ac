/* SPDX-License-Identifier: BSD-2-Clause */
#include <control/request.h>

#include <base/error.h>

#include <errno.h>
#include <string.h>

static int
check(const char *line, size_t length, struct ivshmem_error *reterr)
{
	if (length >= CONTROL_LINE_MAX)
		return error_set(reterr, -EINVAL,
			"the request is too long: a line may have %d bytes, with its newline",
			CONTROL_LINE_MAX);
	for (size_t i = 0; i < length; i++)
		if (line[i] < ' ' || line[i] > '~')
			return error_set(reterr, -EINVAL,
				"byte %zu of the request is no printable character: send words, and a newline at the end",
				i + 1);
	return 0;
}

int
control_request_parse(struct control_request *ret_request, const char *line, size_t length,
	struct ivshmem_error *reterr)
{
	struct control_request *request = ret_request;
	char *rest, *word;
	int r;

	if (length > 0 && line[length - 1] == '\r')
		length--;
	r = check(line, length, reterr);
	if (r < 0)
		return r;
	memcpy(request->text, line, length);
	request->text[length] = '\0';
	request->n = 0;
	rest = request->text;
	while ((word = strsep(&rest, " "))) {
		if (!word[0])
			continue;
		if (request->n == CONTROL_WORDS_MAX)
			return error_set(reterr, -EINVAL, "the request has more than %d words",
				CONTROL_WORDS_MAX);
		request->words[request->n++] = word;
	}
	return request->n > 0 ? 0 : error_set(reterr, -EINVAL, "the request is empty");
}
