/* SPDX-License-Identifier: BSD-2-Clause */
#include <kvm/ioctls.h>
#include <kvm/routes.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

/* ---- what KVM_CREATE_IRQCHIP makes ------------------------------------------------------------ */

#if defined(__x86_64__) || defined(__i386__)

#define IOAPIC_PINS 24
#define PIC_PINS    8
#define N_DEFAULTS  (IOAPIC_PINS + 2 * PIC_PINS)

static void
add_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

static int
add_defaults(struct kvm_irq_routing *table)
{
	for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		add_pin(table, gsi, KVM_IRQCHIP_IOAPIC, gsi);
		if (gsi < PIC_PINS)
			add_pin(table, gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
		else if (gsi < 2 * PIC_PINS)
			add_pin(table, gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - PIC_PINS);
	}
	return 0;
}

#else

#define N_DEFAULTS 0

/* Only the VMM knows the interrupt controller and its number of pins. */
static int
add_defaults(struct kvm_irq_routing *table)
{
	(void)table;
	return -EOPNOTSUPP;
}

#endif

/* ---- we own the table ------------------------------------------------------------------------- */

static int
replace_table(struct routes *routes)
{
	struct kvm_irq_routing *table = routes->table;
	int r;

	memset(table, 0, sizeof(*table));
	r = add_defaults(table);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < routes->n; i++) {
		const struct route *route = &routes->wanted[i];

		if (!route->used)
			continue;
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = routes->first_gsi + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)route->address,
				.address_hi = (uint32_t)(route->address >> 32),
				.data = route->data},
		};
	}
	return kvm_ioctl(routes->vm_fd, KVM_SET_GSI_ROUTING, table);
}

/* ---- changes ---------------------------------------------------------------------------------- */

static bool
same(const struct route *a, const struct route *b)
{
	return a->used == b->used && a->address == b->address && a->data == b->data;
}

static size_t
find_changed(struct routes *routes)
{
	size_t n = 0;

	for (unsigned i = 0; i < routes->n; i++) {
		const struct route *wanted = &routes->wanted[i];

		if (!same(wanted, &routes->committed[i]))
			routes->changed[n++] =
				(struct ivshmem_kvm_route){.gsi = routes->first_gsi + i,
					.used = wanted->used,
					.address = wanted->address,
					.data = wanted->data};
	}
	return n;
}

static void
copy(struct routes *routes, struct route *to, const struct route *from)
{
	if (routes->n > 0)
		memcpy(to, from, routes->n * sizeof(*to));
}

int
routes_commit(struct routes *routes)
{
	size_t n = find_changed(routes);
	int r;

	if (n == 0)
		return 0;
	r = routes->set ? routes->set(routes->changed, n, routes->data) : replace_table(routes);
	if (r < 0) {
		/* A route that KVM refuses must not keep it from taking others later. */
		copy(routes, routes->wanted, routes->committed);
		return r;
	}
	copy(routes, routes->committed, routes->wanted);
	routes->changes++;
	return 0;
}

void
routes_want(struct routes *routes, unsigned vector, uint64_t address, uint32_t data)
{
	routes->wanted[vector] = (struct route){.address = address, .data = data, .used = true};
}

/* ---- life ------------------------------------------------------------------------------------- */

static void
release(struct routes *routes)
{
	free(routes->wanted);
	free(routes->committed);
	free(routes->changed);
	free(routes->table);
	*routes = (struct routes){0};
}

int
routes_init(struct routes *routes, const struct ivshmem_kvm_config *config, unsigned n)
{
	*routes = (struct routes){
		.vm_fd = config->vm_fd,
		.first_gsi = config->first_gsi,
		.set = config->set_routes,
		.data = config->data,
	};
	if (n == 0)
		return 0;
	routes->wanted = calloc(n, sizeof(*routes->wanted));
	routes->committed = calloc(n, sizeof(*routes->committed));
	routes->changed = calloc(n, sizeof(*routes->changed));
	if (!config->set_routes)
		routes->table = malloc(sizeof(*routes->table) +
				       (N_DEFAULTS + n) * sizeof(routes->table->entries[0]));
	if (!routes->wanted || !routes->committed || !routes->changed ||
		(!config->set_routes && !routes->table)) {
		release(routes);
		return -ENOMEM;
	}
	routes->n = n;
	return 0;
}

void
routes_done(struct routes *routes)
{
	for (unsigned i = 0; i < routes->n; i++)
		routes->wanted[i] = (struct route){0};
	routes_commit(routes);
	release(routes);
}
