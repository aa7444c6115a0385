/*
 * A guest without an operating system, made to meet what can go wrong when a migration leaves out pages: it tells pages
 * free and writes them before, while and after it tells, it answers late, twice or with lies, and it takes pages back
 * from the balloon and writes them. Then it looks at all of its memory.
 *
 * The test sends commands on the serial port, a letter and numbers, and gets one line for each:
 *
 *	n SEED		begin a new round: draw which pages are in use
 *	m FIRST COUNT	use these pages only; all are free then
 *	w CYCLES BATCH	work: one step each so many cycles of the TSC, messages of the balloon each BATCH steps; 0: none of
 *			these, but some pages are kept dirty all the time unless CYCLES is 0
 *	a HOW CYCLES	how to answer, and after how many cycles at most
 *	i FIRST COUNT	inflate: the free ones of these pages
 *	d FIRST COUNT	deflate: those of these that are in the balloon, and use them at once
 *	c		check all pages in use
 *	s		say how often the host has asked, and so on
 */

#include "answers.h"
#include "pages.h"

#define INPUT_CYCLES		1000000	/* a look at the serial port is dear */
#define BATCH_PAGES		128
#define LINE			64

static uint32_t step_cycles, batch_steps;
static struct message message;
static struct message_response response;

void *memset(void *to, int value, size_t size)
{
	for (uint8_t *byte = to; size--; byte++)
		*byte = value;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	for (uint8_t *byte = to; size--; from = (const uint8_t *)from + 1)
		*byte++ = *(const uint8_t *)from;
	return to;
}

/* Name the pages in one state, all of them or half of them; returns how many. */
static uint32_t fill(uint32_t first, uint32_t count, uint8_t state, bool all)
{
	uint32_t pages = 0;

	message.first_page = first;
	message.nr_bits = count;
	memset(message.bitmap, 0, sizeof(message.bitmap));
	for (uint32_t i = 0; i < count; i++) {
		if (page_state[first + i] == state && (all || random_below(2))) {
			map_set(message.bitmap, i);
			pages++;
		}
	}
	return pages;
}

static bool named(uint32_t page)
{
	return map_has(message.bitmap, page - message.first_page);
}

static void send(struct queue *queue, uint16_t type)
{
	message.type = type;
	message.page_shift = PAGE_SHIFT;
	queue_publish(queue, &message, message_size(&message), &response, sizeof(response));
	queue_kick(queue);
	queue_wait(queue);
	if (response.status)
		fail("the device refused a message of the balloon");
}

static uint32_t inflate(uint32_t first, uint32_t count, bool all)
{
	uint32_t pages = fill(first, count, FREE, all);

	for (uint32_t page = first; page < first + count; page++) {
		if (named(page))
			page_set(page, BALLOON);
	}
	send(&inflate_queue, TYPE_INFLATE);
	return pages;
}

static uint32_t deflate(uint32_t first, uint32_t count, bool all)
{
	uint32_t pages = fill(first, count, BALLOON, all);

	send(&deflate_queue, TYPE_DEFLATE);
	for (uint32_t page = first; page < first + count; page++) {
		if (named(page))
			page_write(page, KEPT, DEFLATED);
	}
	return pages;
}

static void work_on_balloon(void)
{
	uint32_t first = random_page();
	uint32_t count = end_page - first < BATCH_PAGES ? end_page - first : BATCH_PAGES;

	if (random_below(2))
		inflate(first, count, false);
	else
		deflate(first, count, false);
}

static void work_on_page(void)
{
	uint32_t page = random_page();
	uint32_t dice = random_below(16);

	switch (page_state[page]) {
	case FREE:
		if (dice < 2)
			page_write(page, KEPT, ALLOCATED);
		else if (dice < 12)
			page_scribble(page);
		break;
	case USED:
		if (dice < 2)
			page_set(page, FREE);
		else if (dice < 12)
			page_write(page, USED, AT_WORK);
		break;
	}
}

static void work(void)
{
	static uint64_t next;
	static uint32_t steps;

	if (!step_cycles)
		return;
	pages_stir();
	if (now() < next)
		return;
	next = now() + step_cycles;
	work_on_page();
	if (batch_steps && ++steps % batch_steps == 0)
		work_on_balloon();
}

static uint32_t number(const char **at)
{
	uint32_t value = 0;

	while (**at == ' ')
		++*at;
	for (; **at >= '0' && **at <= '9'; ++*at)
		value = value * 10 + **at - '0';
	return value;
}

static void command(const char *line)
{
	const char *at = line + 1;
	uint32_t first = number(&at), second = number(&at);

	put_string("ok");
	switch (*line) {
	case 'n':
		random_seed(first);
		pages_new_round();
		break;
	case 'm':
		pages_use(first, second);
		break;
	case 'w':
		step_cycles = first;
		batch_steps = second;
		break;
	case 'a':
		answers_set(first, second);
		break;
	case 'i':
		put_value("", "pages", inflate(first, second, true));
		break;
	case 'd':
		put_value("", "pages", deflate(first, second, true));
		break;
	case 'c':
		pages_check();
		break;
	case 's':
		put_value("", "first", first_page);
		put_value("", "end", end_page);
		answers_report();
		break;
	default:
		fail("no such command");
	}
	put_string("\n");
}

_Noreturn void guest(void)
{
	static uint64_t next_input;
	char line[LINE];

	pages_init();
	device_start(SLOTS);
	put_string("ready\n");
	for (;;) {
		answers_poll();
		work();
		if (now() >= next_input) {
			next_input = now() + INPUT_CYCLES;
			if (get_line(line, sizeof(line)))
				command(line);
		}
	}
}
