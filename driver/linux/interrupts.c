// SPDX-License-Identifier: GPL-2.0
/* Interrupts: MSI-X, or INTx of revision 0, and who listens to them. */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "compat.h"
#include "core.h"

#define X86_MESSAGE_ADDRESS 0xfee00000

static void tell(struct ivshmem_vector *vector)
{
	struct ivshmem_listener *listener;
	unsigned long flags;

	spin_lock_irqsave(&vector->lock, flags);
	list_for_each_entry(listener, &vector->listeners, node)
		listener->heard(listener);
	spin_unlock_irqrestore(&vector->lock, flags);
}

void ivshmem_tell_all(struct ivshmem_device *device)
{
	unsigned int i;

	for (i = 0; i < device->n_vectors; i++)
		tell(&device->vectors[i]);
}

static irqreturn_t msix_came(int irq, void *vector)
{
	tell(vector);
	return IRQ_HANDLED;
}

/* The line may be shared with other devices. Reading the status clears it and lowers the line. */
static irqreturn_t intx_came(int irq, void *data)
{
	struct ivshmem_device *device = data;

	u32 status = readl(device->registers + IVSHMEM_REG_INTR_STATUS);

	/* All ones: the device is being reset, or it was pulled out. */
	if (status == 0 || status == U32_MAX)
		return IRQ_NONE;
	tell(&device->vectors[0]);
	return IRQ_HANDLED;
}

static void *interrupt_data(struct ivshmem_device *device, unsigned int i)
{
	return device->interrupts == IVSHMEM_MSIX ? (void *)&device->vectors[i] : device;
}

static int request_interrupt(struct ivshmem_device *device, unsigned int i)
{
	struct ivshmem_vector *vector = &device->vectors[i];
	bool msix = device->interrupts == IVSHMEM_MSIX;
	int error;

	error = request_irq(pci_irq_vector(device->pdev, i), msix ? msix_came : intx_came,
			    msix ? 0 : IRQF_SHARED, vector->name, interrupt_data(device, i));
	if (error)
		return error;
	vector->requested = true;
	if (!msix)
		writel(1, device->registers + IVSHMEM_REG_INTR_MASK);
	return 0;
}

static void free_interrupt(struct ivshmem_device *device, unsigned int i)
{
	if (!device->vectors[i].requested)
		return;
	if (device->interrupts == IVSHMEM_INTX)
		writel(0, device->registers + IVSHMEM_REG_INTR_MASK);
	free_irq(pci_irq_vector(device->pdev, i), interrupt_data(device, i));
	device->vectors[i].requested = false;
}

static int add_listener(struct ivshmem_vector *vector, struct ivshmem_listener *listener)
{
	struct ivshmem_listener *other =
		list_first_entry_or_null(&vector->listeners, struct ivshmem_listener, node);

	if (other && (other->exclusive || listener->exclusive))
		return -EBUSY;
	if (vector->n_listeners == IVSHMEM_LISTENERS_MOST)
		return -ENOSPC;
	spin_lock_irq(&vector->lock);
	list_add_tail(&listener->node, &vector->listeners);
	vector->n_listeners++;
	spin_unlock_irq(&vector->lock);
	return 0;
}

static void remove_listener(struct ivshmem_vector *vector, struct ivshmem_listener *listener)
{
	spin_lock_irq(&vector->lock);
	list_del(&listener->node);
	vector->n_listeners--;
	spin_unlock_irq(&vector->lock);
}

int ivshmem_listen(struct ivshmem_device *device, struct ivshmem_listener *listener,
		   unsigned int vector, bool exclusive)
{
	int error;

	if (vector >= device->n_vectors)
		return -EINVAL;
	vector = array_index_nospec(vector, device->n_vectors);
	listener->vector = vector;
	listener->exclusive = exclusive;
	if (mutex_lock_killable(&device->listen_lock))
		return -EINTR;
	error = ivshmem_enter(device);
	if (error)
		goto unlock;
	/* First the listener, then the interrupt: what waited in the device comes at once. */
	error = add_listener(&device->vectors[vector], listener);
	if (error == 0 && !device->vectors[vector].requested) {
		error = request_interrupt(device, vector);
		if (error)
			remove_listener(&device->vectors[vector], listener);
	}
	if (error == 0 && device->vectors[vector].lost) {
		device->vectors[vector].lost = false;
		tell(&device->vectors[vector]);
	}
	ivshmem_leave(device);
unlock:
	mutex_unlock(&device->listen_lock);
	return error;
}
EXPORT_SYMBOL_GPL(ivshmem_listen);

void ivshmem_unlisten(struct ivshmem_device *device, struct ivshmem_listener *listener)
{
	struct ivshmem_vector *vector = &device->vectors[listener->vector];

	mutex_lock(&device->listen_lock);
	/*
	 * The interrupt first, or one that comes in between would be told to nobody instead of
	 * waiting.
	 */
	if (vector->n_listeners == 1)
		free_interrupt(device, listener->vector);
	remove_listener(vector, listener);
	mutex_unlock(&device->listen_lock);
}
EXPORT_SYMBOL_GPL(ivshmem_unlisten);

/*
 * Gives a message to the entries of the MSI-X table that have none. QEMU's device asks KVM for the
 * routes of all vectors when MSI-X is enabled, and does without any if KVM refuses one. Linux
 * enables MSI-X before it writes its messages, and a virtual IOMMU that remaps interrupts refuses
 * the address 0. This message is accepted: it goes to the first processor, in the form that no
 * IOMMU remaps. It is never sent, because entries stay masked until Linux has written its own
 * messages.
 */
static void fill_msix_table(struct pci_dev *pdev)
{
	u32 size = pci_msix_vec_count(pdev) * PCI_MSIX_ENTRY_SIZE;
	u32 where, bar, offset, at;
	void __iomem *table;

	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &where);
	bar = where & PCI_MSIX_TABLE_BIR;
	offset = where & PCI_MSIX_TABLE_OFFSET;
	if (bar > PCI_STD_RESOURCE_END || !(pci_resource_flags(pdev, bar) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, bar) < (u64)offset + size)
		return;
	table = pci_iomap_range(pdev, bar, offset, size);
	if (!table)
		return;
	for (at = 0; at < size; at += PCI_MSIX_ENTRY_SIZE) {
		if (readl(table + at + PCI_MSIX_ENTRY_LOWER_ADDR) ||
		    readl(table + at + PCI_MSIX_ENTRY_UPPER_ADDR))
			continue;
		writel(0, table + at + PCI_MSIX_ENTRY_DATA);
		writel(X86_MESSAGE_ADDRESS, table + at + PCI_MSIX_ENTRY_LOWER_ADDR);
	}
	pci_iounmap(pdev, table);
}

/*
 * After a reset, the bus enables MSI-X while the table is empty, and then restores the messages of
 * our vectors. The table may have more entries than we have vectors.
 */
static void enable_msix_again(struct pci_dev *pdev)
{
	u16 control;

	fill_msix_table(pdev);
	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &control);
	pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
			      control & ~PCI_MSIX_FLAGS_ENABLE);
	pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, control);
}

/* How many vectors the device has, and how they come. Fewer than it has is better than none. */
int ivshmem_find_interrupts(struct ivshmem_device *device)
{
	struct pci_dev *pdev = device->pdev;
	int n = pci_msix_vec_count(pdev);
	int i;

	if (n > 0) {
		if (IS_ENABLED(CONFIG_X86))
			fill_msix_table(pdev);
		n = pci_alloc_irq_vectors(pdev, 1, n, PCI_IRQ_MSIX);
		if (n > 0)
			device->interrupts = IVSHMEM_MSIX;
		else
			pci_warn(pdev, "no MSI-X vectors (error %d): nobody can be interrupted\n",
				 n);
	} else if (device->revision == 0 && pdev->pin) {
		n = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_INTX);
		if (n > 0)
			device->interrupts = IVSHMEM_INTX;
		else
			pci_warn(pdev, "no INTx (error %d): nobody can be interrupted\n", n);
	}
	if (device->interrupts == IVSHMEM_NO_INTERRUPTS)
		n = 0;

	/* One element at least, so that the pointer is never NULL. */
	device->vectors = kvcalloc(max(n, 1), sizeof(*device->vectors), GFP_KERNEL);
	if (!device->vectors)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct ivshmem_vector *vector = &device->vectors[i];

		spin_lock_init(&vector->lock);
		INIT_LIST_HEAD(&vector->listeners);
		snprintf(vector->name, sizeof(vector->name), "ivshmem %s:%d", device->name, i);
	}
	device->n_vectors = n;
	return 0;
}

void ivshmem_free_interrupts(struct ivshmem_device *device)
{
	unsigned int i;

	mutex_lock(&device->listen_lock);
	for (i = 0; i < device->n_vectors; i++)
		free_interrupt(device, i);
	mutex_unlock(&device->listen_lock);
}

/* Until somebody listens. A driver before us may have left it on, and the line may be shared. */
void ivshmem_silence_intx(struct ivshmem_device *device)
{
	if (device->revision == 0)
		writel(0, device->registers + IVSHMEM_REG_INTR_MASK);
}

/*
 * The device has forgotten what was written to it, and rings that waited; the bus restores MSI-X.
 * listen_lock is held.
 */
void ivshmem_restart_interrupts(struct ivshmem_device *device)
{
	unsigned int i;

	for (i = 0; i < device->n_vectors; i++)
		device->vectors[i].lost = device->vectors[i].n_listeners == 0;
	if (IS_ENABLED(CONFIG_X86) && device->interrupts == IVSHMEM_MSIX)
		enable_msix_again(device->pdev);
	if (device->interrupts == IVSHMEM_INTX && device->vectors[0].requested)
		writel(1, device->registers + IVSHMEM_REG_INTR_MASK);
}
