/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_PUBLIC_H
#define KVM_PUBLIC_H

/* What the library exports. The rest of it is compiled with hidden symbols. */
#pragma GCC visibility push(default)
#include <ivshmem/kvm.h>
#pragma GCC visibility pop

#endif
