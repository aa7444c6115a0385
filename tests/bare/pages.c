/* The guest's memory: each page in use has a stamp that no other page nor any other write has. */

#include "pages.h"

#define MIB			(1u << 20)
#define MIB_PAGES		(MIB >> PAGE_SHIFT)

#define CMOS_ADDRESS		0x70
#define CMOS_DATA		0x71
#define CMOS_ABOVE_16M		0x34 /* in units of 64 KiB, two bytes */

uint32_t first_page, end_page;
uint8_t *page_state;
uint32_t free_pages[MAP_WORDS];

static uint32_t lowest_page, ram_pages, stirred_pages;
static uint8_t *page_occasion;
static uint32_t *page_stamp;
static uint32_t last_stamp;
static uint32_t written[OCCASIONS];

static uint32_t random_state = 1;

void random_seed(uint32_t seed)
{
	random_state = seed * 2 + 1;
}

static uint32_t random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

uint32_t random_below(uint32_t limit)
{
	return (uint64_t)random() * limit >> 32;
}

static uint32_t cmos(uint8_t at)
{
	outb(CMOS_ADDRESS, at);
	return inb(CMOS_DATA);
}

void pages_init(void)
{
	extern uint32_t bss_end[];

	ram_pages = 16 * MIB_PAGES + ((cmos(CMOS_ABOVE_16M) | cmos(CMOS_ABOVE_16M + 1) << 8) << 4);
	page_stamp = bss_end;
	page_state = (uint8_t *)(page_stamp + ram_pages);
	page_occasion = page_state + ram_pages;
	lowest_page = ((uint32_t)(page_occasion + ram_pages) + MIB - 1) / MIB * MIB_PAGES;
	/* RAM is 0 at first, and so the state of all pages is FREE. */
	for (uint32_t i = lowest_page / 32; i < ram_pages / 32; i++)
		free_pages[i] = ~0u;
	first_page = lowest_page;
	end_page = ram_pages;
}

void pages_use(uint32_t first, uint32_t count)
{
	if (first < lowest_page || first % 32 || first > ram_pages || count > ram_pages - first)
		fail("there are no such pages");
	stirred_pages = count / 16;
	first_page = first;
	end_page = first + count - stirred_pages;
	for (uint32_t page = first; page < end_page; page++)
		page_set(page, FREE);
}

uint32_t random_page(void)
{
	return first_page + random_below(end_page - first_page);
}

void page_set(uint32_t page, uint8_t state)
{
	page_state[page] = state;
	if (state == FREE)
		map_set(free_pages, page);
	else
		map_clear(free_pages, page);
}

uint32_t pages_in_use(uint32_t word)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < 32; i++) {
		uint8_t state = page_state[word * 32 + i];

		if (state == USED || state == KEPT)
			bits |= 1u << i;
	}
	return bits;
}

static volatile uint32_t *page_words(uint32_t page)
{
	return (volatile uint32_t *)(page << PAGE_SHIFT);
}

/* At both ends and in the middle */
static const uint16_t stamped[] = { 0, PAGE_SIZE / 8, PAGE_SIZE / 4 - 1 };
#define STAMPS (sizeof(stamped) / sizeof(stamped[0]))

static uint32_t stamp_of(uint32_t page, uint32_t i)
{
	return page_stamp[page] * 2654435761u ^ page << 8 ^ i;
}

void page_write(uint32_t page, uint8_t state, uint8_t occasion)
{
	page_stamp[page] = ++last_stamp;
	for (uint32_t i = 0; i < STAMPS; i++)
		page_words(page)[stamped[i]] = stamp_of(page, i);
	page_set(page, state);
	page_occasion[page] = occasion;
	written[occasion]++;
}

void page_scribble(uint32_t page)
{
	page_words(page)[stamped[0]] = random();
}

static bool page_is_right(uint32_t page)
{
	for (uint32_t i = 0; i < STAMPS; i++) {
		if (page_words(page)[stamped[i]] != stamp_of(page, i))
			return false;
	}
	return true;
}

void pages_stir(void)
{
	static uint32_t i;

	if (++i >= stirred_pages)
		i = 0;
	page_words(end_page + i)[0] = i;
}

void pages_new_round(void)
{
	for (uint32_t page = first_page; page < end_page; page++) {
		if (page_state[page] == BALLOON)
			continue;
		if (random_below(16) < 6)
			page_write(page, USED, AT_ROUND);
		else
			page_set(page, FREE);
	}
}

static void put_all(const char *prefix, const uint32_t *values)
{
	static const char *const names[OCCASIONS] = {
		"at_round", "at_work", "allocated", "before_message", "in_ring", "kicked", "returned", "answered",
		"deflated", "after_reset",
	};

	for (uint32_t i = 0; i < OCCASIONS; i++)
		put_value(prefix, names[i], values[i]);
}

void pages_check(void)
{
	uint32_t in_state[STATES] = {}, bad[OCCASIONS] = {};
	uint32_t wrong = 0, lost = 0, first_bad = 0;

	for (uint32_t page = first_page; page < end_page; page++) {
		uint8_t state = page_state[page];

		in_state[state]++;
		if (state == FREE || state == BALLOON || page_is_right(page))
			continue;
		if (state == LIED) {
			lost++;
			continue;
		}
		if (!wrong++)
			first_bad = page;
		bad[page_occasion[page]]++;
	}

	put_value("", "free", in_state[FREE]);
	put_value("", "used", in_state[USED]);
	put_value("", "kept", in_state[KEPT]);
	put_value("", "balloon", in_state[BALLOON]);
	put_value("", "lied", in_state[LIED]);
	put_value("", "lost", lost);
	put_value("", "bad", wrong);
	put_value("", "first_bad", first_bad);
	put_value("", "stamp", last_stamp);
	put_all("wrote_", written);
	put_all("bad_", bad);
}
