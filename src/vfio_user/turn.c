/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/turn.h>

void
turn_init(struct turn *turn)
{
	*turn = (struct turn){0};
	pthread_mutex_init(&turn->mutex, NULL);
	pthread_cond_init(&turn->moved, NULL);
}

void
turn_done(struct turn *turn)
{
	pthread_cond_destroy(&turn->moved);
	pthread_mutex_destroy(&turn->mutex);
}

void
turn_take(struct turn *turn)
{
	unsigned number;

	pthread_mutex_lock(&turn->mutex);
	number = turn->next++;
	while (turn->called != number)
		pthread_cond_wait(&turn->moved, &turn->mutex);
	pthread_mutex_unlock(&turn->mutex);
}

void
turn_give_back(struct turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	if (++turn->called != turn->next)
		pthread_cond_broadcast(&turn->moved);
	pthread_mutex_unlock(&turn->mutex);
}
