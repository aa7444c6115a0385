/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernels before 6.10 don't tag what is allocated. */
#if __has_include_next(<linux/pgalloc_tag.h>)
#include_next <linux/pgalloc_tag.h>
#else
#define pgalloc_tag_split(folio, old_order, new_order)	do { } while (0)
#endif
