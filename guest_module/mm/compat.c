// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the series has in mm itself, made of what the kernel exports to modules.
 */
#include <linux/balloon_compaction.h>
#include <linux/drop_caches.h>
#include <linux/fs_struct.h>
#include <linux/memory.h>
#include <linux/nodemask.h>
#include <linux/rwsem.h>
#include <linux/vmstat.h>

#include "balloon_blocks.h"
#include "internal.h"

/*
 * What the zones that the kernel allocates from have beyond their low watermarks
 * and a reserve.  Half of the page cache counts as a part of that.
 *
 * Watermarks as they are without watermark_boost: taking unmovable pages in a
 * fragmented guest raises it, and only kswapd lowers it again, which is woken by
 * an allocation that fails because of it, not by one that is not tried.
 */
static unsigned long kernel_spare(unsigned long reserve)
{
	unsigned long free = 0, file = 0;
	struct zone *zone;

	for_each_populated_zone(zone) {
		unsigned long all = zone_page_state(zone, NR_FREE_PAGES);

		if (!zone_for_kernel(zone))
			continue;

		free += all - min(all, zone->_watermark[WMARK_LOW]);
		file += zone_page_state(zone, NR_ZONE_INACTIVE_FILE) +
			zone_page_state(zone, NR_ZONE_ACTIVE_FILE);
	}
	reserve -= min(reserve, file / 2);

	return free - min(free, reserve);
}

/* Allocates blocks of one order, as long as there are any. */
static bool take_order(struct block_batch *batch, gfp_t gfp, unsigned int order,
		       unsigned long limit, unsigned long *spare)
{
	while (limit && block_batch_room(batch, order)) {
		struct page *page = alloc_pages(gfp, order);
		unsigned long nr_pages = 1UL << order;

		if (!page)
			return true;
		if (zone_for_kernel(page_zone(page))) {
			if (*spare < nr_pages) {
				__free_pages(page, order);
				return false;
			}
			*spare -= nr_pages;
		}
		block_batch_add(batch, page, order);
		limit--;
		cond_resched();
	}

	return true;
}

/**
 * balloon_blocks_take() - take free memory for a balloon, in large blocks
 * @blocks: list that the blocks are added to, whole pageblocks last
 * @nr_pages: what the balloon is to grow by, in pages
 * @reserve: pages that must remain in the zones that the kernel allocates from
 *
 * The series takes blocks from the free lists.  A module can only allocate them,
 * so they are zeroed where the kernel zeroes all that it allocates.  What is not
 * free is reclaimed a page at a time, and taken in blocks as far as it is free
 * next to each other then.
 *
 * Return: the number of pages that were taken, 0 if there are none to be had.
 */
unsigned long balloon_blocks_take(struct list_head *blocks,
				  unsigned long nr_pages, unsigned long reserve)
{
	const gfp_t gfp = balloon_mapping_gfp_mask() | __GFP_NOMEMALLOC |
			  __GFP_NORETRY | __GFP_NOWARN;
	unsigned long spare = kernel_spare(reserve), before;
	struct block_batch batch;
	int order;

	block_batch_init(&batch, nr_pages);
	do {
		before = batch.nr_pages;
		for (order = pageblock_order; order >= 0; order--) {
			if (!take_order(&batch, gfp & ~__GFP_RECLAIM, order,
					ULONG_MAX, &spare))
				break;
		}
		if (!block_batch_room(&batch, 0) || order >= 0)
			break;
		take_order(&batch, gfp, 0, 1, &spare);
	} while (batch.nr_pages > before && block_batch_room(&batch, 0));
	block_batch_finish(&batch, blocks);

	return batch.nr_pages;
}

/* Where there is no such thing, kernel threads have the root of init anyway. */
#ifndef scoped_with_init_fs
#define scoped_with_init_fs()
#endif

/* Writes to a file of the kernel's, as user space does. */
static ssize_t write_file(const char *path, const char *text)
{
	struct file *file = NULL;
	loff_t pos = 0;
	ssize_t ret;

	scoped_with_init_fs()
		file = filp_open(path, O_WRONLY, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);

	ret = kernel_write(file, text, strlen(text), &pos);
	filp_close(file, NULL);

	return ret;
}

/* Cached + Buffers + SReclaimable of /proc/meminfo, without Shmem, in pages */
static long nr_cache_pages(void)
{
	return global_node_page_state(NR_FILE_PAGES) -
	       global_node_page_state(NR_SHMEM) +
	       global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B);
}

/**
 * drop_caches() - drop clean page cache and reclaimable slab objects
 * @mode: DROP_CACHES_PAGECACHE, DROP_CACHES_SLAB, or both
 * @stop: would end it early; a module can only do so before it begins
 *
 * Return: by how many pages page cache and reclaimable slab have shrunk, 0 if
 * they have grown.
 */
unsigned long drop_caches(unsigned int mode, const bool *stop)
{
	const char text[] = { '0' + mode, '\0' };
	long nr_pages = nr_cache_pages();

	if (drop_caches_stopped(stop))
		return 0;

	write_file("/proc/sys/vm/drop_caches", text);

	return max(nr_pages - nr_cache_pages(), 0L);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0) && defined(CONFIG_NUMA)
/*
 * Each node has a file for that, and is asked for its part, as nobody can tell
 * here which one has the coldest pages.  Without MGLRU, the kernel may swap even
 * if it is not to, when there is next to no page cache.
 */
unsigned long compat_proactive_reclaim(unsigned long nr_pages, bool may_swap)
{
	unsigned long part = DIV_ROUND_UP(nr_pages, num_node_state(N_MEMORY));
	unsigned long before, counted, nr_reclaimed = 0;
	char path[64], text[64];
	bool all;
	int nid;

	snprintf(text, sizeof(text), "%lu%s", part << PAGE_SHIFT,
		 may_swap ? "" : " swappiness=0");

	for_each_node_state(nid, N_MEMORY) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/reclaim", nid);

		/* What is counted gets here in batches, and may be a bit less. */
		before = global_node_page_state(PGSTEAL_PROACTIVE);
		all = write_file(path, text) > 0;
		counted = global_node_page_state(PGSTEAL_PROACTIVE) - before;
		nr_reclaimed += all ? max(counted, part) : counted;
	}

	return nr_reclaimed;
}
#else
/* Nothing that does so is exported. */
unsigned long compat_proactive_reclaim(unsigned long nr_pages, bool may_swap)
{
	return 0;
}
#endif

/* Whether memory is about to come or go; read with the semaphore held */
static bool memory_changes;
static DECLARE_RWSEM(memory_sem);

/* Like the series' own: false while memory is coming or going */
bool compat_try_get_online_mems(void)
{
	if (!down_read_trylock(&memory_sem))
		return false;
	if (!memory_changes)
		return true;

	up_read(&memory_sem);
	return false;
}

void compat_put_online_mems(void)
{
	up_read(&memory_sem);
}

static int memory_notify_change(struct notifier_block *nb, unsigned long action,
				void *unused)
{
	bool begins = action == MEM_GOING_ONLINE || action == MEM_GOING_OFFLINE;

	/* Who is looking at it has left when this returns. */
	down_write(&memory_sem);
	memory_changes = begins;
	up_write(&memory_sem);

	return NOTIFY_OK;
}

static struct notifier_block memory_nb = {
	.notifier_call = memory_notify_change,
};

int compat_mm_init(void)
{
	return register_memory_notifier(&memory_nb);
}

void compat_mm_exit(void)
{
	unregister_memory_notifier(&memory_nb);
}
