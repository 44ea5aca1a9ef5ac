// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem: memory shared between virtual machines, with interrupts (PCI 1af4:1110).
 *
 * How a device lives: probe finds its BARs and how it interrupts, then tells the users (here: the
 * character device). Interrupts of a vector are requested when somebody begins to listen to it, and
 * given back when nobody does any more; a vector that nobody listens to is masked and costs
 * nothing.
 *
 * All who touch the device pass the gate. Reset closes it, has mappings of the memory removed, and
 * opens it again; page faults wait meanwhile. Removal closes it, marks the device as gone and opens
 * it, so whoever comes afterwards finds out; then it takes away, in this order, interrupts, users,
 * mappings, and what is mapped here. The structure lives on as long as somebody has a reference to
 * it.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "core.h"

#define REGISTERS_SIZE 16 /* of those we use */

static const struct ivshmem_user *const users[] = { &ivshmem_chardev };

/* ---- lifetime and gate ---- */

struct ivshmem_device *ivshmem_get(struct ivshmem_device *device)
{
	kref_get(&device->ref);
	return device;
}
EXPORT_SYMBOL_GPL(ivshmem_get);

static void release(struct kref *ref)
{
	struct ivshmem_device *device = container_of(ref, struct ivshmem_device, ref);

	lockdep_unregister_key(&device->gate_key);
	lockdep_unregister_key(&device->listen_key);
	kvfree(device->vectors);
	kfree(device);
}

void ivshmem_put(struct ivshmem_device *device)
{
	kref_put(&device->ref, release);
}
EXPORT_SYMBOL_GPL(ivshmem_put);

int ivshmem_enter(struct ivshmem_device *device)
{
	if (down_read_killable(&device->gate))
		return -EINTR;
	if (!device->gone)
		return 0;
	up_read(&device->gate);
	return -ENODEV;
}
EXPORT_SYMBOL_GPL(ivshmem_enter);

/* For those who clean up: they cannot be interrupted, and there is nobody to tell. */
int ivshmem_enter_at_end(struct ivshmem_device *device)
{
	down_read(&device->gate);
	if (!device->gone)
		return 0;
	up_read(&device->gate);
	return -ENODEV;
}
EXPORT_SYMBOL_GPL(ivshmem_enter_at_end);

void ivshmem_leave(struct ivshmem_device *device)
{
	up_read(&device->gate);
}
EXPORT_SYMBOL_GPL(ivshmem_leave);

/* ---- what the bus tells us ---- */

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivshmem_device *device;
	unsigned int i;
	int error;

	device = kzalloc(sizeof(*device), GFP_KERNEL);
	if (!device)
		return -ENOMEM;
	kref_init(&device->ref);
	init_rwsem(&device->gate);
	mutex_init(&device->listen_lock);
	lockdep_register_key(&device->gate_key);
	lockdep_register_key(&device->listen_key);
	lockdep_set_class(&device->gate, &device->gate_key);
	lockdep_set_class(&device->listen_lock, &device->listen_key);
	device->pdev = pdev;
	device->revision = pdev->revision;
	strscpy(device->name, pci_name(pdev), sizeof(device->name));

	error = pci_enable_device_mem(pdev);
	if (error)
		goto put;
	error = pci_request_regions(pdev, KBUILD_MODNAME);
	if (error)
		goto disable;
	if (!(pci_resource_flags(pdev, IVSHMEM_BAR_REGISTERS) & IORESOURCE_MEM) ||
	    !(pci_resource_flags(pdev, IVSHMEM_BAR_MEMORY) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, IVSHMEM_BAR_REGISTERS) < REGISTERS_SIZE ||
	    pci_resource_len(pdev, IVSHMEM_BAR_MEMORY) == 0) {
		pci_err(pdev, "the BARs have no address; is there room for the memory?\n");
		error = -ENODEV;
		goto release_regions;
	}
	device->memory_start = pci_resource_start(pdev, IVSHMEM_BAR_MEMORY);
	device->memory_size = pci_resource_len(pdev, IVSHMEM_BAR_MEMORY);
	device->registers = pci_iomap(pdev, IVSHMEM_BAR_REGISTERS, 0);
	if (!device->registers) {
		error = -ENOMEM;
		goto release_regions;
	}
	ivshmem_silence_intx(device);
	ivshmem_find_words(device);
	pci_set_master(pdev);
	error = ivshmem_find_interrupts(device);
	if (error)
		goto free_vectors;
	pci_set_drvdata(pdev, device);
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		error = users[i]->add(device);
		if (error)
			goto remove_users;
	}
	return 0;

remove_users:
	down_write(&device->gate);
	device->gone = true;
	up_write(&device->gate);
	while (i-- > 0)
		users[i]->remove(device);
free_vectors:
	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	if (device->words.mapped)
		iounmap(device->words.mapped);
	pci_iounmap(pdev, device->registers);
release_regions:
	pci_release_regions(pdev);
disable:
	pci_disable_device(pdev);
put:
	ivshmem_put(device);
	return error;
}

static void remove(struct pci_dev *pdev)
{
	struct ivshmem_device *device = pci_get_drvdata(pdev);
	unsigned int i;

	down_write(&device->gate);
	device->gone = true;
	up_write(&device->gate);

	ivshmem_free_interrupts(device);
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		users[i]->zap(device);
		users[i]->remove(device);
	}

	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	if (device->words.mapped)
		iounmap(device->words.mapped);
	pci_iounmap(pdev, device->registers);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
	ivshmem_put(device);
}

/*
 * The device came back from a reset or from sleep with its registers empty; interrupts may have
 * been lost.
 */
static void restart(struct ivshmem_device *device)
{
	device->generation++;
	ivshmem_restart_interrupts(device);
}

/* The listeners stay as they are meanwhile. */
static void reset_prepare(struct pci_dev *pdev)
{
	struct ivshmem_device *device = pci_get_drvdata(pdev);
	unsigned int i;

	mutex_lock(&device->listen_lock);
	down_write(&device->gate);
	for (i = 0; i < ARRAY_SIZE(users); i++)
		users[i]->zap(device);
}

static void reset_done(struct pci_dev *pdev)
{
	struct ivshmem_device *device = pci_get_drvdata(pdev);

	restart(device);
	up_write(&device->gate);
	mutex_unlock(&device->listen_lock);
	ivshmem_tell_all(device);
}

/* Before another kernel takes over. */
static void shutdown(struct pci_dev *pdev)
{
	ivshmem_silence_intx(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers error_handlers = {
	.reset_prepare = reset_prepare,
	.reset_done = reset_done,
};

/* Tasks are frozen, and the bus saves and restores the rest. */
static int __maybe_unused sleep(struct device *dev)
{
	return 0;
}

static int __maybe_unused wake(struct device *dev)
{
	struct ivshmem_device *device = dev_get_drvdata(dev);

	mutex_lock(&device->listen_lock);
	down_write(&device->gate);
	restart(device);
	up_write(&device->gate);
	mutex_unlock(&device->listen_lock);
	ivshmem_tell_all(device);
	return 0;
}

static SIMPLE_DEV_PM_OPS(pm_ops, sleep, wake);

/*
 * Other drivers claim the same numbers; driver_override of the device decides (see the
 * documentation).
 */
static const struct pci_device_id ids[] = { { PCI_DEVICE(0x1af4, 0x1110) }, {} };
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.shutdown = shutdown,
	.err_handler = &error_handlers,
	.driver.pm = &pm_ops,
};

static int __init start(void)
{
	int error = ivshmem_chardev_init();

	if (error)
		return error;
	error = pci_register_driver(&driver);
	if (error)
		ivshmem_chardev_exit();
	return error;
}

static void __exit stop(void)
{
	pci_unregister_driver(&driver);
	ivshmem_chardev_exit();
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("Memory shared between virtual machines, with interrupts (ivshmem)");
MODULE_AUTHOR("The ivshmem authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(IVSHMEM_VERSION);
