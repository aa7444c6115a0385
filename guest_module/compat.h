/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the driver expects of the kernel that it was written for, for others.
 *
 * Included before all else, so that the sources are those of the series.  What
 * is replaced by a macro is included first: the kernel's headers mean their own.
 *
 * This is for kernels up to 6.12, and from 7.2 on.  What says 7.2 may be older:
 * those in between were not tried, and from 6.17 on it does not build with them.
 */
#ifndef _FASTBALLOON_COMPAT_H
#define _FASTBALLOON_COMPAT_H

#include <linux/export.h>
#include <linux/fs.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/page_reporting.h>
#include <linux/pagemap.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

/* All of it is one module, nothing of which is for others. */
#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(symbol)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define MAX_PAGE_ORDER	(MAX_ORDER - 1)
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define MAX_PAGE_ORDER	MAX_ORDER
#endif
#ifndef NR_PAGE_ORDERS
#define NR_PAGE_ORDERS	(MAX_PAGE_ORDER + 1)
#endif

/* The core's own: how much was reclaimed, in pages; mm/compat.c */
unsigned long compat_proactive_reclaim(unsigned long nr_pages, bool may_swap);
#define proactive_reclaim compat_proactive_reclaim

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define compat_virtio_driver virtio_driver
#else
/*
 * A driver that is told when the system goes down.  The core of this kernel does
 * not tell it, so compat.c does.
 */
struct compat_virtio_driver {
	struct virtio_driver;
	void (*shutdown)(struct virtio_device *vdev);
};

#define virtio_driver compat_virtio_driver

/* The core goes on with a reset. */
static inline void virtio_device_shutdown(struct virtio_device *vdev)
{
	virtio_break_device(vdev);
}
#endif

int compat_register_driver(struct compat_virtio_driver *driver);
void compat_unregister_driver(struct compat_virtio_driver *driver);

#undef register_virtio_driver
#define register_virtio_driver compat_register_driver
#define unregister_virtio_driver compat_unregister_driver

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
void disable_work(struct work_struct *work);
void disable_work_sync(struct work_struct *work);
void enable_work(struct work_struct *work);
bool compat_queue_work(struct workqueue_struct *wq, struct work_struct *work);
#define queue_work compat_queue_work
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
};

int compat_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		    struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
		    struct irq_affinity *desc);
#define virtio_find_vqs compat_find_vqs
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
struct compat_shrinker {
	unsigned long (*count_objects)(struct compat_shrinker *shrinker,
				       struct shrink_control *sc);
	unsigned long (*scan_objects)(struct compat_shrinker *shrinker,
				      struct shrink_control *sc);
	void *private_data;
	/* The kernel's */
	struct shrinker core;
	const char *name;
	bool registered;
};

struct compat_shrinker *shrinker_alloc(unsigned int flags, const char *name);
void shrinker_register(struct compat_shrinker *shrinker);
void shrinker_free(struct compat_shrinker *shrinker);
#define shrinker compat_shrinker
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
/* By their old names, they warn about themselves. */
#define system_wq system_percpu_wq
#define system_unbound_wq system_dfl_wq
/* The driver has one workqueue of that kind, and must say that it is per CPU. */
#define WQ_CPU_INTENSIVE (WQ_CPU_INTENSIVE | WQ_PERCPU)

/* These events are counted by node now, so compat.c adds them to the others. */
enum {
	COMPAT_PGSCAN_KSWAPD = NR_VM_EVENT_ITEMS,
	COMPAT_PGSCAN_DIRECT,
	COMPAT_PGSTEAL_KSWAPD,
	COMPAT_PGSTEAL_DIRECT,
	COMPAT_NR_VM_EVENT_ITEMS
};

void compat_all_vm_events(unsigned long *events);
#define all_vm_events compat_all_vm_events
#define PGSCAN_KSWAPD COMPAT_PGSCAN_KSWAPD
#define PGSCAN_DIRECT COMPAT_PGSCAN_DIRECT
#define PGSTEAL_KSWAPD COMPAT_PGSTEAL_KSWAPD
#define PGSTEAL_DIRECT COMPAT_PGSTEAL_DIRECT
#define NR_VM_EVENT_ITEMS COMPAT_NR_VM_EVENT_ITEMS

#include "mm/balloon_pages.h"
#endif

/* Memory comes or goes; mm/compat.c */
int compat_mm_init(void);
void compat_mm_exit(void);

#endif /* _FASTBALLOON_COMPAT_H */
