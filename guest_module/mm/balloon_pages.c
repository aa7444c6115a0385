// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single pages of a balloon: those that mm has take a struct balloon_dev_info
 * that is not the series'.
 */
#include <linux/balloon_compaction.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>

struct page *balloon_page_alloc(void)
{
	return alloc_page(balloon_mapping_gfp_mask() | __GFP_NOMEMALLOC |
			  __GFP_NORETRY | __GFP_NOWARN);
}

void balloon_page_enqueue(struct balloon_dev_info *b_dev_info, struct page *page)
{
	unsigned long flags;

	page->index = 0;
	spin_lock_irqsave(&b_dev_info->pages_lock, flags);
	balloon_page_insert(b_dev_info, page);
	__count_vm_event(BALLOON_INFLATE);
	spin_unlock_irqrestore(&b_dev_info->pages_lock, flags);
}

/* No page is ever isolated, so there is one as long as the balloon has any. */
struct page *balloon_page_dequeue(struct balloon_dev_info *b_dev_info)
{
	unsigned long flags;
	struct page *page;

	spin_lock_irqsave(&b_dev_info->pages_lock, flags);
	page = balloon_page_pop(&b_dev_info->pages);
	if (!WARN_ON_ONCE(!page)) {
		balloon_page_finalize(page);
		__count_vm_event(BALLOON_DEFLATE);
	}
	spin_unlock_irqrestore(&b_dev_info->pages_lock, flags);

	return page;
}
