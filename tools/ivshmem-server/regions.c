/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * The manager has one unit for each region that it runs: a child (child.h), which is a server with the
 * options of the region's file. The units know nothing of each other, and all of them live in one parent
 * (parent.h). A unit whose child is over stays: the next reload starts it again, or removes it.
 *
 *	reload			file		unit		what happens
 *				new		-		start
 *				wrong		any		nothing; the error is logged
 *				the same	serves		nothing
 *				changed		serves		the next server gets the new options, if it can
 *						go on with the group; otherwise nothing, and an error
 *				good		over		start
 *				gone		any		end; clients are let go
 *				good		ends		starts when the end has come
 *
 * The supervisor above hears READY=1 when all that a start or a reload has set off is decided, and the new
 * numbers when a region fails or recovers in between.
 */
#include <regions.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/list.h>
#include <base/log.h>
#include <child.h>
#include <common/supervisor.h>
#include <options.h>
#include <parent.h>
#include <region_folder.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct manager {
	const struct options *options;
	const struct log *log;
	struct parent parent;
	struct list units;
	size_t n_wrong; /* files, as of the last reload */
	bool loading;   /* files are being read: more will be set off */
	bool telling;   /* the supervisor waits for READY=1 */
	bool ending;
};

struct unit {
	struct manager *manager;
	struct list link; /* manager::units */
	char name[REGION_NAME_MAX];
	struct log log; /* the manager's, with the name */
	struct child child;
	char **next; /* starts when the child is over; NULL: nothing */
	bool seen;   /* its file is there */
};

/* ---- units ----------------------------------------------------------------------------------- */

static void
unit_write(void *data, enum log_level level, const char *message)
{
	const struct unit *unit = data;

	log_printf(unit->manager->log, level, "%s: %s", unit->name, message);
}

static struct unit *
unit_free(struct unit *unit)
{
	list_remove(&unit->link);
	child_done(&unit->child);
	child_free_argv(unit->next);
	free(unit);
	return NULL;
}

/* ---- what the supervisor hears --------------------------------------------------------------- */

/* Is all decided that was set off? */
static bool
is_settled(const struct manager *manager)
{
	list_for_each (item, &manager->units) {
		const struct unit *unit = container_of(item, struct unit, link);

		if (unit->child.state != CHILD_OVER && !child_is_settled(&unit->child))
			return false;
	}
	return true;
}

static void
settle(struct manager *manager)
{
	size_t serving = 0, all = 0;

	if (manager->loading || manager->ending || !is_settled(manager))
		return;
	list_for_each (item, &manager->units) {
		const struct unit *unit = container_of(item, struct unit, link);

		all++;
		serving += unit->child.state == CHILD_SERVING;
	}
	if (manager->telling)
		log_info(manager->log, "regions that serve: %zu of %zu; wrong files: %zu", serving,
			all, manager->n_wrong);
	supervisor_notify("%sSTATUS=Regions that serve: %zu of %zu; wrong files: %zu\nMAINPID=%d",
		manager->telling ? "READY=1\n" : "", serving, all, manager->n_wrong, (int)getpid());
	manager->telling = false;
}

static void
unit_ready(struct child *child)
{
	settle(container_of(child, struct unit, child)->manager);
}

static void
unit_over(struct child *child, int status)
{
	struct unit *unit = container_of(child, struct unit, child);
	struct manager *manager = unit->manager;
	char **next = unit->next;

	unit->next = NULL;
	if (manager->ending) {
		child_free_argv(next);
		unit_free(unit);
		if (list_empty(&manager->units))
			loop_quit(manager->parent.loop);
		return;
	}
	if (next)
		child_start(child, next);
	else if (child->ending)
		unit_free(unit);
	else
		log_printf(manager->log, status == EXIT_SUCCESS ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
			"%s: the region has no server any more; SIGHUP to the manager starts it again",
			unit->name);
	settle(manager);
}

/* ---- files and units ------------------------------------------------------------------------- */

static struct unit *
find_unit(const struct manager *manager, const char *name)
{
	list_for_each (item, &manager->units) {
		struct unit *unit = container_of(item, struct unit, link);

		if (strcmp(unit->name, name) == 0)
			return unit;
	}
	return NULL;
}

static void
add_unit(struct manager *manager, struct region_file *file)
{
	struct unit *unit = calloc(1, sizeof(*unit));

	if (!unit) {
		log_error(manager->log, "%s: there is no memory for the region", file->name);
		return;
	}
	unit->manager = manager;
	snprintf(unit->name, sizeof(unit->name), "%s", file->name);
	unit->log = (struct log){manager->log->level, unit_write, unit};
	unit->child = (struct child){.parent = &manager->parent,
		.log = &unit->log,
		.ready = unit_ready,
		.over = unit_over,
		.group = -1};
	list_init(&unit->child.server.link);
	list_append(&manager->units, &unit->link);
	child_start(&unit->child, region_file_take(file));
}

static void
change_unit(struct unit *unit, struct region_entry *entry)
{
	struct ivshmem_error error;

	if (unit->child.ending) {
		child_free_argv(unit->next);
		unit->next = region_file_take(&entry->file);
	} else if (unit->child.state == CHILD_OVER) {
		child_start(&unit->child, region_file_take(&entry->file));
	} else if (region_file_is(&entry->file, unit->child.argv)) {
		if (unit->child.state == CHILD_WAITING)
			child_restart(&unit->child);
	} else if (child_has_group(&unit->child) &&
		   region_file_follows(&entry->file, unit->child.argv, entry->path, &error) < 0) {
		log_error(unit->manager->log, "%s; the region goes on with its former options",
			error.message);
		unit->manager->n_wrong++;
	} else {
		log_info(&unit->log, "the options have changed");
		child_replace(&unit->child, region_file_take(&entry->file));
	}
}

static void
take_entry(struct manager *manager, struct region_entry *entry)
{
	struct unit *unit = find_unit(manager, entry->file.name);

	if (entry->error.code < 0)
		log_error(manager->log, "%s%s", entry->error.message,
			unit ? "; the region goes on with its former options" : "");
	else if (unit)
		change_unit(unit, entry);
	else
		add_unit(manager, &entry->file);
}

static void
end_missing(struct manager *manager, const struct region_folder *folder)
{
	list_for_each_safe (item, &manager->units) {
		struct unit *unit = container_of(item, struct unit, link);

		if (region_folder_find(folder, unit->name))
			continue;
		unit->next = child_free_argv(unit->next);
		if (unit->child.state == CHILD_OVER) {
			unit_free(unit);
		} else if (!unit->child.ending) {
			log_info(&unit->log,
				"the file is gone: the region ends, and its clients go");
			child_end(&unit->child);
		}
	}
}

static int
load(struct manager *manager)
{
	struct region_folder folder;
	struct ivshmem_error error;
	int r = region_folder_read(
		manager->options->regions, manager->options->runtime_dir, &folder, &error);

	if (r < 0) {
		log_error(manager->log, "%s", error.message);
		return r;
	}
	manager->loading = true;
	manager->n_wrong = folder.n_wrong;
	/* First, so that their sockets are free as early as possible. */
	end_missing(manager, &folder);
	for (size_t i = 0; i < folder.n; i++)
		take_entry(manager, &folder.entries[i]);
	manager->loading = false;
	region_folder_done(&folder);
	return 0;
}

/* ---- what we are told ------------------------------------------------------------------------ */

static void
reload(struct manager *manager)
{
	log_info(manager->log, "reading '%s' again", manager->options->regions);
	supervisor_notify(
		"RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now() / (NSEC_PER_MSEC / 1000));
	manager->telling = true;
	load(manager);
	settle(manager);
}

static void
end(struct manager *manager)
{
	if (!manager->ending)
		supervisor_notify("STOPPING=1");
	manager->ending = true;
	list_for_each_safe (item, &manager->units) {
		struct unit *unit = container_of(item, struct unit, link);

		if (unit->child.state == CHILD_OVER)
			unit_free(unit);
		else
			child_end(&unit->child);
	}
	if (list_empty(&manager->units))
		loop_quit(manager->parent.loop);
}

static void
told(struct parent *parent, int signal)
{
	struct manager *manager = container_of(parent, struct manager, parent);

	if (signal != SIGHUP)
		end(manager);
	else if (!manager->ending)
		reload(manager);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int
prepare(struct manager *manager)
{
	const char *directory = manager->options->runtime_dir;
	int r = parent_open(&manager->parent, told);

	if (r < 0)
		log_error(manager->log, "cannot run servers: %s", strerror(-r));
	if (r == 0 && mkdir(directory, 0755) < 0 && errno != EEXIST) {
		r = -errno;
		log_error(manager->log, "cannot make the directory '%s' for sockets: %s", directory,
			strerror(-r));
	}
	return r;
}

int
regions_run(const struct options *options, const struct log *log)
{
	struct manager manager = {.options = options, .log = log, .telling = true};
	int r = prepare(&manager);

	list_init(&manager.units);
	if (r == 0)
		r = load(&manager);
	if (r == 0) {
		settle(&manager);
		r = loop_run(manager.parent.loop);
	}
	parent_close(&manager.parent);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
regions_check(const struct options *options, const struct log *log)
{
	struct region_folder folder;
	struct ivshmem_error error;
	size_t n_wrong;

	if (region_folder_read(options->regions, options->runtime_dir, &folder, &error) < 0) {
		log_error(log, "%s", error.message);
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < folder.n; i++)
		if (folder.entries[i].error.code < 0)
			log_error(log, "%s", folder.entries[i].error.message);
	log_info(log, "files: %zu; wrong: %zu", folder.n, folder.n_wrong);
	n_wrong = folder.n_wrong;
	region_folder_done(&folder);
	return n_wrong > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
