/* The guest's memory: what each page is used for, and what must be in it. */

#ifndef BARE_PAGES_H
#define BARE_PAGES_H

#include "guest.h"

#define PAGE_SHIFT		12
#define PAGE_SIZE		(1u << PAGE_SHIFT)

enum {
	FREE,		/* may have anything in it */
	USED,		/* written again and freed at random */
	KEPT,		/* written once and left alone until the next round, so that no later write makes up for a loss */
	BALLOON,	/* with the host: not touched */
	LIED,		/* in use and told free: may be lost, others may not */
	STATES,
};

/* The occasion of a page's last write, to tell what was lost */
enum {
	AT_ROUND,	/* between two migrations */
	AT_WORK,	/* at any time, again and again */
	ALLOCATED,	/* at any time, once */
	BEFORE_MESSAGE,	/* after the request was taken and before the page was told */
	IN_RING,	/* told, but the device does not know it */
	KICKED,		/* told, and perhaps the device knows */
	RETURNED,	/* told, and the device has taken note */
	ANSWERED,	/* told, and the request is answered */
	DEFLATED,	/* taken back from the balloon */
	AFTER_RESET,	/* was in the balloon when the device was reset */
	OCCASIONS,
};

/* Numbers of pages: the first and the one behind the last that are told of, written and checked */
extern uint32_t first_page, end_page;
extern uint8_t *page_state;

/* Bitmaps by the page's number: the guest has less than 4 GiB. */
#define MAP_WORDS		(1u << (32 - PAGE_SHIFT - 5))
extern uint32_t free_pages[MAP_WORDS];

static inline bool map_has(const uint32_t *map, uint32_t n)
{
	return map[n / 32] >> n % 32 & 1;
}

static inline void map_set(uint32_t *map, uint32_t n)
{
	map[n / 32] |= 1u << n % 32;
}

static inline void map_clear(uint32_t *map, uint32_t n)
{
	map[n / 32] &= ~(1u << n % 32);
}

uint32_t random_below(uint32_t limit);
void random_seed(uint32_t seed);

void pages_init(void);
/*
 * From now on it is about these pages only, of which the first begins a word of a map. The last 1/16 of them is kept
 * dirty and nothing else, see pages_stir().
 */
void pages_use(uint32_t first, uint32_t count);
uint32_t random_page(void);

/* Have a migration find something to send, so that it goes on: one page after the other is dirty. */
void pages_stir(void);

void page_set(uint32_t page, uint8_t state);
/* A word of a map of what is used or kept */
uint32_t pages_in_use(uint32_t word);
void page_write(uint32_t page, uint8_t state, uint8_t occasion);
/* Something that nobody will look for: it is dirty then. */
void page_scribble(uint32_t page);

/* Draw anew which pages are in use; those in the balloon stay there. */
void pages_new_round(void);
/* Look at all pages in use and report. */
void pages_check(void);

#endif
