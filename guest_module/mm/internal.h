/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the series that belong to mm know of it, made of what the
 * kernel exports to modules.
 */
#ifndef _FASTBALLOON_MM_INTERNAL_H
#define _FASTBALLOON_MM_INTERNAL_H

#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-isolation.h>
#include <linux/page_owner.h>
#include <linux/page_ref.h>

/* The order of a free block; needs zone->lock, as it does in mm. */
#define buddy_order(page)	page_private(page)

static inline void set_page_refcounted(struct page *page)
{
	set_page_count(page, 1);
}

static inline void free_balloon_block(struct page *page, unsigned int order)
{
	__free_pages(page, order);
}

/* What the CPUs have on lists of their own is not told. */
#define drain_all_pages(zone)	do { } while (0)

#undef for_each_online_pgdat
#define for_each_online_pgdat(pgdat)					\
	for (int __nid = first_online_node;				\
	     __nid < MAX_NUMNODES && ((pgdat) = NODE_DATA(__nid), true);	\
	     __nid = next_online_node(__nid))

#undef for_each_populated_zone
#define for_each_populated_zone(zone)					\
	for (int __nid = first_online_node; __nid < MAX_NUMNODES;	\
	     __nid = next_online_node(__nid))				\
		for ((zone) = NODE_DATA(__nid)->node_zones;		\
		     (zone) < NODE_DATA(__nid)->node_zones + MAX_NR_ZONES; \
		     (zone)++)						\
			if (!populated_zone(zone)) {			\
			} else

#ifndef for_each_migratetype_order
#define for_each_migratetype_order(order, type)				\
	for ((order) = 0; (order) < NR_PAGE_ORDERS; (order)++)		\
		for ((type) = 0; (type) < MIGRATE_TYPES; (type)++)
#endif

/* The flags of a pageblock: mm's functions are not exported. */
static inline unsigned long compat_pageblock_flags(const struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	unsigned long *types = section_to_usemap(__pfn_to_section(pfn));
	unsigned long bit = (pfn & (PAGES_PER_SECTION - 1)) / pageblock_nr_pages *
			    NR_PAGEBLOCK_BITS;

	return READ_ONCE(types[bit / BITS_PER_LONG]) >> (bit % BITS_PER_LONG);
}

#undef get_pageblock_migratetype
#ifdef PAGEBLOCK_MIGRATETYPE_MASK
/* Isolation is a bit of its own. */
#define get_pageblock_migratetype(page)	\
	(compat_pageblock_flags(page) & PAGEBLOCK_MIGRATETYPE_MASK)
#define is_migrate_isolate_page(page)	\
	(compat_pageblock_flags(page) & PAGEBLOCK_ISO_MASK)
#else
#define get_pageblock_migratetype(page)	\
	(compat_pageblock_flags(page) & MIGRATETYPE_MASK)
#define is_migrate_isolate_page(page)	\
	(get_pageblock_migratetype(page) == MIGRATE_ISOLATE)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
/* Their arguments are not const yet, and owners are split into pages only. */
#define PageOffline(p)	PageOffline((struct page *)(p))
#define PagePrivate(p)	PagePrivate((struct page *)(p))
#define split_page_owner(page, old_order, new_order)	\
	split_page_owner(page, 1U << (old_order))
#endif

bool compat_try_get_online_mems(void);
void compat_put_online_mems(void);
#define try_get_online_mems compat_try_get_online_mems
#define put_online_mems compat_put_online_mems

#endif /* _FASTBALLOON_MM_INTERNAL_H */
