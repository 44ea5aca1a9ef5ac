/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_TURN_H
#define VFIO_USER_TURN_H

/*
 * A lock that goes to the thread that asked first, unlike a mutex. A thread that handles request
 * after request gives the lock back and takes it again at once. With a mutex, it would mostly get
 * it before a sleeping thread has woken up, as long as there are requests.
 */

#include <pthread.h>

struct turn {
	pthread_mutex_t mutex; /* for the two numbers; never held for long */
	pthread_cond_t moved;
	unsigned next;   /* the number that the next thread gets */
	unsigned called; /* the number whose turn it is */
};

void turn_init(struct turn *turn);
void turn_done(struct turn *turn);

void turn_take(struct turn *turn);
void turn_give_back(struct turn *turn);

#endif
