/* How the guest answers the host's requests: rightly, late, or not as it should. */

#include "answers.h"
#include "pages.h"

#define WINDOW			512	/* pages that one message is about */
#define TOUCHED			6	/* pages that are written on each occasion */
#define LIES			16	/* pages in use that a liar adds to each message */
#define GUESSES			4
#define STIRRED			16

enum { MODE_TELL, MODE_WITHDRAW };
enum tells { TELL_FREE, TELL_FREE_AND_LIES, TELL_USED };

static uint32_t how, delay;

/* What is to be told, in the slot of this number; -1 for nothing */
static int current = -1;
static struct slot request[SLOTS];
static enum { WITH_DEVICE, HELD, WITHHELD } where[SLOTS];
static uint64_t due;
/* Which pages were free when the request came, or have been since */
static uint32_t was_free[MAP_WORDS];

static struct message message;
static struct message_response response;

static uint32_t requests, withdrawals, answers, abandoned, messages, refused_messages;

uint32_t message_size(const struct message *m)
{
	return offsetof(struct message, bitmap) + ((uint32_t)m->nr_bits + 63) / 64 * 8;
}

/* Use some of the pages that the message tells free. */
static void touch(uint8_t occasion)
{
	for (uint32_t i = 0; i < TOUCHED; i++) {
		uint32_t n = random_below(message.nr_bits), page = message.first_page + n;

		if (map_has(message.bitmap, n) && page_state[page] == FREE)
			page_write(page, KEPT, occasion);
	}
}

/* Free some pages that are dirty. */
static void release(uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < TOUCHED * 4; i++) {
		uint32_t page = first + random_below(count);

		if (page_state[page] == USED) {
			page_scribble(page);
			page_set(page, FREE);
			map_set(was_free, page);
		}
	}
}

static void add_lies(void)
{
	for (uint32_t i = 0; i < LIES; i++) {
		uint32_t n = random_below(message.nr_bits), page = message.first_page + n;

		if (page_state[page] == USED) {
			page_set(page, LIED);
			map_set(message.bitmap, n);
		}
	}
}

/* Name pages of a window that begins at a word of the maps; returns how many. */
static uint32_t fill(uint64_t id, uint32_t first, uint32_t count, enum tells tells)
{
	uint32_t words = (count + 31) / 32, told = 0;

	message.type = TYPE_FREE_PAGES;
	message.page_shift = PAGE_SHIFT;
	message.id = id;
	message.first_page = first;
	message.nr_bits = count;
	message.bitmap[words] = 0; /* there may be half a word of 64 bits */
	for (uint32_t i = 0; i < words; i++)
		message.bitmap[i] = tells == TELL_USED ? pages_in_use(first / 32 + i) : was_free[first / 32 + i];
	if (count % 32)
		message.bitmap[words - 1] &= (1u << count % 32) - 1;
	if (tells == TELL_FREE_AND_LIES)
		add_lies();
	for (uint32_t i = 0; i < words; i++) {
		for (uint32_t word = message.bitmap[i]; word; word &= word - 1)
			told++;
	}
	return told;
}

/* The part of a request's range that the tests use, but for a few pages where it does not begin with a word */
static void range_of(const struct slot *slot, uint32_t *first, uint32_t *end)
{
	uint64_t slot_end = slot->first_page + slot->nr_pages;

	*first = slot->first_page > first_page ? (slot->first_page + 31) & ~31u : first_page;
	*end = slot_end < end_page ? slot_end : end_page;
}

/* Send messages about the request's range; returns how many pages were told. */
static uint32_t tell(const struct slot *slot, uint64_t id, enum tells tells, uint32_t limit)
{
	uint32_t first, end, told = 0;

	range_of(slot, &first, &end);
	for (; first < end && limit; first += message.nr_bits, limit--) {
		uint32_t count = end - first < WINDOW ? end - first : WINDOW;

		if (tells != TELL_USED)
			release(first, count);
		told += fill(id, first, count, tells);
		touch(BEFORE_MESSAGE);
		queue_publish(&answer_queue, &message, message_size(&message), &response, sizeof(response));
		touch(IN_RING);
		queue_kick(&answer_queue);
		touch(KICKED);
		queue_wait(&answer_queue);
		touch(RETURNED);
		for (uint32_t i = 0; i < STIRRED; i++)
			pages_stir();
		messages++;
		refused_messages += response.status != 0;
	}
	return told;
}

static void give_back(int number)
{
	where[number] = WITH_DEVICE;
	slot_give_back(number);
}

static void answer(int number, uint16_t status, uint32_t pages)
{
	static struct answer resp;

	resp = (struct answer){ request[number].type, status, 0, request[number].id, pages };
	queue_publish(&answer_queue, &resp, sizeof(resp), 0, 0);
	queue_kick(&answer_queue);
	queue_wait(&answer_queue);
	answers++;
	abandoned += status == ANSWER_ABANDONED;
	where[number] = WITHHELD;
	if (how != GUESS)
		give_back(number);
}

static void abandon(void)
{
	int number = current;

	current = -1;
	if (number < 0 || where[number] != HELD)
		return;
	if (how == STALE)
		tell(&request[number], request[number].id, TELL_USED, ~0u);
	answer(number, ANSWER_ABANDONED, 0);
}

static void start_over(int nr_slots)
{
	for (int i = 0; i < SLOTS; i++)
		where[i] = i < nr_slots ? WITH_DEVICE : WITHHELD;
	current = -1;
	device_start(nr_slots);
}

static void restart(void)
{
	uint64_t id = request[current].id;
	struct slot slot = request[current];

	start_over(SLOTS);
	for (uint32_t page = first_page; page < end_page; page++) {
		if (page_state[page] == BALLOON)
			page_write(page, KEPT, AFTER_RESET);
	}
	tell(&slot, id, TELL_USED, ~0u);
}

static void answer_current(void)
{
	int number = current;
	struct slot *slot = &request[number];
	uint32_t first, end, told;

	switch (how) {
	case HONEST:
	case LIAR:
		told = tell(slot, slot->id, how == LIAR ? TELL_FREE_AND_LIES : TELL_FREE, ~0u);
		current = -1;
		answer(number, ANSWER_DONE, told);
		touch(ANSWERED); /* of the last message */
		break;
	case HALF:
		range_of(slot, &first, &end);
		tell(slot, slot->id, TELL_FREE, ((end - first) / WINDOW + 1) / 2);
		due = ~0ull;
		break;
	case REFUSE:
		current = -1;
		answer(number, ANSWER_REFUSED, 0);
		break;
	case RESET:
		restart();
		break;
	case GUESS:
		if (where[number] == HELD)
			answer(number, ANSWER_DONE, 0);
		/* Again and again, until the host would ask if it had a slot */
		due = now() + delay;
		for (uint32_t i = 1; i <= GUESSES; i++)
			tell(slot, slot->id + i, TELL_USED, 1);
		break;
	default:
		due = ~0ull;
	}
}

static void take_request(int number)
{
	struct slot *slot = &request[number];

	requests++;
	if (slot->mode != MODE_TELL || slot->flags || !slot->id)
		fail("a request makes no sense");
#if SLOT_SIZE == 16
	slot->first_page = 0;
	slot->nr_pages = 1u << (32 - PAGE_SHIFT);
#endif
	if (!slot->nr_pages || slot->first_page + slot->nr_pages > 1ull << 52)
		fail("the range of a request makes no sense");
	if (how == SILENT)
		return;
	abandon();
	current = number;
	due = now() + random_below(delay);
	for (uint32_t i = first_page / 32; i <= (end_page - 1) / 32; i++)
		was_free[i] = free_pages[i];
}

void answers_set(uint32_t new_how, uint32_t cycles)
{
	how = new_how;
	delay = cycles;
	if (how == GUESS)
		start_over(1);
	if (how != HONEST)
		return;
	for (int i = 0; i < SLOTS; i++) {
		if (where[i] == HELD)
			answer(i, ANSWER_ABANDONED, 0);
		else if (where[i] == WITHHELD)
			give_back(i);
	}
	current = -1;
}

void answers_poll(void)
{
	struct slot slot;
	int number;

	while ((number = slot_take(&slot)) >= 0) {
		request[number] = slot;
		where[number] = HELD;
		if (slot.type == TYPE_DROP_CACHE) {
			answer(number, ANSWER_DONE, 0);
		} else if (slot.type != TYPE_FREE_PAGES) {
			fail("an unknown request");
		} else if (slot.mode == MODE_WITHDRAW) {
			withdrawals++;
			abandon();
			answer(number, ANSWER_DONE, 0);
		} else {
			take_request(number);
		}
	}
	if (current >= 0 && now() >= due)
		answer_current();
}

void answers_report(void)
{
	put_value("", "requests", requests);
	put_value("", "withdrawals", withdrawals);
	put_value("", "answers", answers);
	put_value("", "abandoned", abandoned);
	put_value("", "messages", messages);
	put_value("", "refused_messages", refused_messages);
}
