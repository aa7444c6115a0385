/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the series' <linux/balloon_compaction.h> expects, for kernels that have
 * <linux/balloon.h> instead.
 *
 * There, mm moves the pages of all balloons, by operations that know nothing of
 * blocks, and that a module could put its own in place of but not put back.  So
 * here the pages of the balloon stay where they are: they are not marked as
 * movable, and are not allocated where all has to be movable, in ZONE_MOVABLE
 * and CMA areas.
 */
#ifndef _FASTBALLOON_MM_BALLOON_PAGES_H
#define _FASTBALLOON_MM_BALLOON_PAGES_H

/* It is CONFIG_BALLOON now. */
#define CONFIG_MEMORY_BALLOON	1

/* No page of the balloon has been movable. */
static inline void __ClearPageMovable(struct page *page)
{
}

/* The member of struct page; nothing else of that name is used here. */
#define index	__folio_index

/* Balloon: of /proc/meminfo */
static inline void compat_set_page_offline(struct page *page)
{
	__SetPageOffline(page);
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES,
			    1L << page->index);
}

static inline void compat_clear_page_offline(struct page *page)
{
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES,
			    -(1L << page->index));
	__ClearPageOffline(page);
}

#define __SetPageOffline	compat_set_page_offline
#define __ClearPageOffline	compat_clear_page_offline

#endif /* _FASTBALLOON_MM_BALLOON_PAGES_H */
