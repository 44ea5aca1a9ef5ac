// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of the memory and of the doorbell words.
 *
 * The memory is ordinary memory of the host and shall be cached. The kernel's own ways to map what
 * is not RAM of this machine give it the type that firmware and MTRRs tell for device memory, often
 * uncached, which is 30 to 100 times slower where the host honours it. So the fault handler writes
 * the page table entries itself, with the protection of ordinary memory. An entry says that there
 * is no struct page behind it, so nobody can pin one and keep the device from leaving.
 */
#include <linux/mm.h>
#include <linux/module.h>

#include "chardev.h"
#include "compat.h"

/* Others need what modules do not get to write an entry, or to keep caches coherent. */
#if !defined(CONFIG_X86_64) && !defined(CONFIG_ARM64)
#error "ivshmem: this driver is for x86-64 and arm64"
#endif

static bool map_words = true;
module_param(map_words, bool, 0644);
MODULE_PARM_DESC(map_words, "whether programs may map the doorbell words (default: yes)");

/* What one fault fills, so that a walk through the memory has one fault in 512 pages. */
#define FILL_SIZE PMD_SIZE

struct filling {
	struct vm_area_struct *vma;
	unsigned long needed; /* the address of the page that is needed now */
	unsigned long pfn; /* of the memory's start, less the address where that would be mapped */
	pgprot_t protection;
	pte_t first;
	bool has_first;
};

/*
 * Under the lock of the page table. Another fault may have been here before. An entry that is
 * neither empty nor present is a mark of userfaultfd's; it goes where the page is needed.
 */
static int fill_page(pte_t *entry, unsigned long address, void *data)
{
	struct filling *filling = data;

	if (pte_none(*entry) || (address == filling->needed && !pte_present(*entry)))
		set_pte_at(filling->vma->vm_mm, address, entry,
			   pte_mkspecial(pfn_pte(filling->pfn + (address >> PAGE_SHIFT),
						 filling->protection)));
	if (!filling->has_first && pte_present(*entry)) {
		filling->first = *entry;
		filling->has_first = true;
	}
	return 0;
}

static u32 cache_of(pte_t entry)
{
#if defined(CONFIG_X86)
	return pte_flags(entry) & _PAGE_CACHE_MASK ? IVSHMEM_DEV_CACHE_OTHER
						   : IVSHMEM_DEV_CACHE_WRITE_BACK;
#elif defined(CONFIG_ARM64)
	switch (pte_val(entry) & PTE_ATTRINDX_MASK) {
	case PTE_ATTRINDX(MT_NORMAL):
	case PTE_ATTRINDX(MT_NORMAL_TAGGED):
		return IVSHMEM_DEV_CACHE_WRITE_BACK;
	default:
		return IVSHMEM_DEV_CACHE_OTHER;
	}
#endif
}

static vm_fault_t memory_fault(struct vm_fault *fault)
{
	struct vm_area_struct *vma = fault->vma;
	struct ivshmem_file *file = vma->vm_file->private_data;
	struct ivshmem_node *node = file->node;
	unsigned long start = max(vma->vm_start, fault->address & ~(FILL_SIZE - 1));
	unsigned long end = min(vma->vm_end - 1, fault->address | (FILL_SIZE - 1)) + 1;
	struct filling filling = {
		.vma = vma,
		.needed = fault->address & PAGE_MASK,
		.pfn = PHYS_PFN(node->core->memory_start) + vma->vm_pgoff -
		       (vma->vm_start >> PAGE_SHIFT),
		.protection = pgprot_decrypted(vma->vm_page_prot),
	};
	int error;

	if (ivshmem_enter(node->core))
		return VM_FAULT_SIGBUS;
	error = apply_to_page_range(vma->vm_mm, start, end - start, fill_page, &filling);
	if (filling.has_first)
		WRITE_ONCE(node->cache, cache_of(filling.first));
	ivshmem_leave(node->core);
	if (error)
		return error == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

/*
 * vm_page_prot stays that of ordinary memory, because the page for stores to a device that is gone
 * is ordinary memory: mapped as a device, it could show what was in it before it was cleared in the
 * cache. On arm64, mprotect() gives every entry the memory type of vm_page_prot. Words whose entry
 * was changed in this way still ring: there is no memory behind them, so each store goes to the
 * hypervisor.
 */
static vm_fault_t words_fault(struct vm_fault *fault)
{
	struct vm_area_struct *vma = fault->vma;
	struct ivshmem_file *file = vma->vm_file->private_data;
	struct ivshmem_device *core = file->node->core;
	u64 offset = ((u64)fault->pgoff << PAGE_SHIFT) - ivshmem_words_offset(core);
	vm_fault_t answer;
	int error = ivshmem_enter(core);

	/* A program that rings hears otherwise that the device is gone, and shall not die of it. */
	if (error == -ENODEV)
		return vmf_insert_pfn(vma, fault->address, page_to_pfn(file->node->nowhere));
	if (error)
		return VM_FAULT_SIGBUS;
	answer = vmf_insert_pfn_prot(vma, fault->address, PHYS_PFN(core->words.start + offset),
				     pgprot_decrypted(pgprot_device(vma->vm_page_prot)));
	ivshmem_leave(core);
	return answer;
}

/* No map_pages: a fault shall come with the mmap_lock held, which apply_to_page_range() wants. */
static const struct vm_operations_struct memory_operations = { .fault = memory_fault };
static const struct vm_operations_struct words_operations = { .fault = words_fault };

bool ivshmem_words_can_be_mapped(const struct ivshmem_node *node)
{
	return READ_ONCE(map_words) && node->core->words.peers && node->core->words.alone;
}

/* Whether the pages lie in what begins at first and has size bytes. */
static bool lies_in(struct vm_area_struct *vma, u64 first, u64 size)
{
	u64 from = vma->vm_pgoff - (first >> PAGE_SHIFT), n = size >> PAGE_SHIFT;

	return vma->vm_pgoff >= first >> PAGE_SHIFT && from < n && vma_pages(vma) <= n - from;
}

static int mmap_memory(struct ivshmem_file *file, struct vm_area_struct *vma)
{
	struct ivshmem_device *core = file->node->core;
	unsigned long clear = 0;

	if (!PAGE_ALIGNED(core->memory_start) || !lies_in(vma, 0, core->memory_size))
		return -EINVAL;
	if (READ_ONCE(file->flags) & IVSHMEM_DEV_NO_MAP)
		return -EPERM;
	if (READ_ONCE(file->flags) & IVSHMEM_DEV_READ_ONLY) {
		if (vma->vm_flags & VM_WRITE)
			return -EPERM;
		clear = VM_MAYWRITE;
	}
	compat_vma_flags(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, clear);
	vma->vm_ops = &memory_operations;
	return 0;
}

static int mmap_words(struct ivshmem_file *file, struct vm_area_struct *vma)
{
	const struct ivshmem_device *core = file->node->core;

	if (!lies_in(vma, ivshmem_words_offset(core), PAGE_ALIGN(core->words.size)))
		return -EINVAL;
	if (!ivshmem_words_can_be_mapped(file->node) || !ivshmem_may_ring_all(file))
		return -EPERM;
	/*
	 * A mapping that cannot be written can be made writable unless the file forbids it; reading
	 * gives zeros.
	 */
	if (!(vma->vm_file->f_mode & FMODE_WRITE))
		return -EACCES;
	compat_vma_flags(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, 0);
	vma->vm_ops = &words_operations;
	return 0;
}

int ivshmem_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct ivshmem_file *file = filp->private_data;

	if (READ_ONCE(file->node->core->gone))
		return -ENODEV;
	/* A private mapping would be a copy, which is not what memory is shared for. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff >= ivshmem_words_offset(file->node->core) >> PAGE_SHIFT)
		return mmap_words(file, vma);
	return mmap_memory(file, vma);
}
