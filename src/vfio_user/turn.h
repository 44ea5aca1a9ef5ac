/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_TURN_H
#define VFIO_USER_TURN_H

/*
 * A lock that is given to whoever asked first. A mutex is not: a thread that gives it back and
 * takes it again at once, as one does that handles request after request, mostly gets it before
 * another one that sleeps for it has woken up, for as long as there are requests.
 */

#include <pthread.h>

struct turn {
	pthread_mutex_t mutex; /* of the two numbers; never held for long */
	pthread_cond_t moved;
	unsigned next;   /* the number that is drawn next */
	unsigned called; /* the number whose turn it is */
};

void turn_init(struct turn *turn);
void turn_done(struct turn *turn);

void turn_take(struct turn *turn);
void turn_give_back(struct turn *turn);

#endif
