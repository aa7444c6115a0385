/* What the parts of the bare guest share. Everything runs on one CPU, by polling. */

#ifndef BARE_GUEST_H
#define BARE_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiler calls these, too. */
void *memset(void *to, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);

static inline void outb(uint16_t port, uint8_t value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outl(uint16_t port, uint32_t value)
{
	asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t now(void)
{
	uint64_t cycles;

	asm volatile("rdtsc" : "=A"(cycles));
	return cycles;
}

/* x86 keeps stores in order, and loads: it is the compiler that must not move them. */
static inline void barrier(void)
{
	asm volatile("" : : : "memory");
}

/* Between a store and a load of something else, which x86 may swap */
static inline void full_barrier(void)
{
	asm volatile("lock; addl $0, (%%esp)" : : : "memory", "cc");
}

/* serial.c: lines in, lines out */
void put_string(const char *string);
void put_value(const char *prefix, const char *name, uint32_t value);	/* " prefixname=value" */
bool get_line(char *line, uint32_t size);		/* false: not yet */
_Noreturn void fail(const char *why);

/* virtio.c */
#define SLOTS			4
#define BITMAP_WORDS		1024

/* The slots of the host's requests: an older form has 16 bytes and no range. */
#ifndef SLOT_SIZE
#define SLOT_SIZE		32
#endif

enum {
	TYPE_INFLATE = 1,
	TYPE_DEFLATE = 2,
	TYPE_DROP_CACHE = 3,
	TYPE_FREE_PAGES = 4,
};

enum {
	ANSWER_DONE = 0,
	ANSWER_REFUSED = 2,
	ANSWER_ABANDONED = 5,
};

struct slot {
	uint16_t type;
	uint16_t mode;
	uint32_t flags;
	uint64_t id;
	uint64_t first_page;
	uint64_t nr_pages;
};

/* A page bitmap, of 4 KiB pages */
struct message {
	uint16_t type;
	uint16_t page_shift;
	uint32_t flags;
	uint64_t id;
	uint64_t first_page;
	uint64_t nr_bits;
	uint32_t bitmap[BITMAP_WORDS];
};

struct message_response {
	uint32_t status;
	uint32_t refused;
};

struct answer {
	uint16_t type;
	uint16_t status;
	uint32_t flags;
	uint64_t id;
	uint64_t pages;
};

struct queue;
extern struct queue inflate_queue, deflate_queue, request_queue, answer_queue;

/* Looks for the device, if it has not yet, resets it and drives it; the first of the slots are with the device then. */
void device_start(int nr_slots);

/* A chain's way: it is in the ring, the device knows of it, the device has returned it. One at a time in a queue. */
void queue_publish(struct queue *queue, const void *out, uint32_t out_size, void *in, uint32_t in_size);
void queue_kick(struct queue *queue);
void queue_wait(struct queue *queue);

/* The next slot that the device has written to, or -1 */
int slot_take(struct slot *slot);
void slot_give_back(int number);

#endif
