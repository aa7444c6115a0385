/* A driver for virtio-balloon on PCI, virtio 1.x only, with split queues and without interrupts. */

#include "guest.h"

#define PCI_ADDRESS		0xcf8
#define PCI_DATA		0xcfc
#define PCI_COMMAND		0x04
#define PCI_MEMORY_AND_MASTER	0x06
#define PCI_BAR			0x10
#define PCI_CAPABILITIES	0x34
#define PCI_VENDOR_SPECIFIC	0x09

/* No firmware has placed them: where there is no RAM in guests of less than 3 GiB */
#define REGISTERS		0xe0000000

#define BALLOON_TRANSITIONAL	0x10021af4
#define BALLOON_MODERN		0x10451af4

enum { CAP_COMMON = 1, CAP_NOTIFY = 2 };
enum { STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8 };

/* All of the features that matter are in the upper half of the 64 bits. */
#define VERSION_1		(1u << (32 - 32))
#define PAGE_BITMAP		(1u << (50 - 32))
#define HOST_REQ_VQ		(1u << (51 - 32))
#define DROP_CACHE		(1u << (52 - 32))
#define FREE_PAGES		(1u << (53 - 32))
#define NEEDED			(VERSION_1 | PAGE_BITMAP | HOST_REQ_VQ | FREE_PAGES)

struct common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint32_t queue_desc[2];
	uint32_t queue_driver[2];
	uint32_t queue_device[2];
};

#define RING			8
enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct desc {
	uint64_t address;
	uint32_t size;
	uint16_t flags;
	uint16_t next;
};

struct avail {
	uint16_t flags;
	uint16_t index;
	uint16_t ring[RING];
};

struct used {
	uint16_t flags;
	uint16_t index;
	struct { uint32_t id, size; } ring[RING];
};

struct queue {
	struct desc desc[RING] __attribute__((aligned(16)));
	struct avail avail;
	struct used used __attribute__((aligned(4)));
	uint16_t number;
	uint16_t seen;		/* of what is used */
	volatile uint16_t *doorbell;
};

struct queue inflate_queue, deflate_queue, request_queue, answer_queue;

static volatile struct common *common;
static uint8_t *doorbells;
static uint32_t doorbell_distance;
static struct slot slots[SLOTS];

static uint32_t pci_read(uint32_t device, uint32_t at)
{
	outl(PCI_ADDRESS, 0x80000000 | device << 11 | (at & ~3));
	return inl(PCI_DATA) >> (at & 3) * 8;
}

static void pci_write(uint32_t device, uint32_t at, uint32_t value)
{
	outl(PCI_ADDRESS, 0x80000000 | device << 11 | at);
	outl(PCI_DATA, value);
}

/* All capabilities name the same BAR: the one with the registers of virtio 1.x. */
static void find_registers(uint32_t device)
{
	uint32_t cap = pci_read(device, PCI_CAPABILITIES) & 0xff;

	for (; cap; cap = pci_read(device, cap + 1) & 0xff) {
		uint32_t kind = pci_read(device, cap + 3) & 0xff;
		uint32_t bar = PCI_BAR + 4 * (pci_read(device, cap + 4) & 0xff);
		uint8_t *at = (uint8_t *)REGISTERS + pci_read(device, cap + 8);

		if ((pci_read(device, cap) & 0xff) != PCI_VENDOR_SPECIFIC)
			continue;
		if (kind == CAP_COMMON) {
			common = (void *)at;
			pci_write(device, bar, REGISTERS);
			pci_write(device, bar + 4, 0);
		} else if (kind == CAP_NOTIFY) {
			doorbells = at;
			doorbell_distance = pci_read(device, cap + 16);
		}
	}
	pci_write(device, PCI_COMMAND, PCI_MEMORY_AND_MASTER);
	if (!common || !doorbells)
		fail("the device is not of virtio 1.x");
}

static void find_device(void)
{
	for (uint32_t device = 0; device < 32; device++) {
		uint32_t kind = pci_read(device, 0);

		if (kind == BALLOON_TRANSITIONAL || kind == BALLOON_MODERN) {
			find_registers(device);
			return;
		}
	}
	fail("there is no balloon");
}

static void negotiate(void)
{
	uint32_t features;

	common->device_feature_select = 1;
	features = common->device_feature & (NEEDED | DROP_CACHE);
	if ((features & NEEDED) != NEEDED)
		fail("the device lacks a feature");
	common->driver_feature_select = 0;
	common->driver_feature = 0;
	common->driver_feature_select = 1;
	common->driver_feature = features;
	common->device_status |= STATUS_FEATURES_OK;
	if (!(common->device_status & STATUS_FEATURES_OK))
		fail("the device does not accept the features");
}

static void queue_start(struct queue *queue, uint16_t number)
{
	queue->number = number;
	queue->seen = 0;
	queue->avail.flags = 1; /* no interrupts */
	queue->avail.index = 0;
	queue->used.index = 0;
	common->queue_select = number;
	if (common->queue_size < RING)
		fail("a queue is missing");
	common->queue_size = RING;
	common->queue_desc[0] = (uint32_t)queue->desc;
	common->queue_desc[1] = 0;
	common->queue_driver[0] = (uint32_t)&queue->avail;
	common->queue_driver[1] = 0;
	common->queue_device[0] = (uint32_t)&queue->used;
	common->queue_device[1] = 0;
	queue->doorbell = (void *)(doorbells + common->queue_notify_off * doorbell_distance);
	common->queue_enable = 1;
}

void device_start(int nr_slots)
{
	if (!common)
		find_device();
	common->device_status = 0;
	while (common->device_status)
		;
	common->device_status = STATUS_ACKNOWLEDGE;
	common->device_status |= STATUS_DRIVER;
	negotiate();
	/* There are no others in between, as their features are not negotiated. */
	queue_start(&inflate_queue, 0);
	queue_start(&deflate_queue, 1);
	queue_start(&request_queue, 2);
	queue_start(&answer_queue, 3);
	common->device_status |= STATUS_DRIVER_OK;
	for (int i = 0; i < nr_slots; i++)
		slot_give_back(i);
}

static void make_available(struct queue *queue, uint16_t head)
{
	barrier();
	queue->avail.ring[queue->avail.index % RING] = head;
	barrier();
	queue->avail.index++;
	barrier();
}

void queue_publish(struct queue *queue, const void *out, uint32_t out_size, void *in, uint32_t in_size)
{
	queue->desc[0] = (struct desc){ (uint32_t)out, out_size, in_size ? DESC_NEXT : 0, 1 };
	queue->desc[1] = (struct desc){ (uint32_t)in, in_size, DESC_WRITE, 0 };
	make_available(queue, 0);
}

void queue_kick(struct queue *queue)
{
	full_barrier();
	*queue->doorbell = queue->number;
}

static bool queue_has_used(struct queue *queue)
{
	bool has = queue->seen != *(volatile uint16_t *)&queue->used.index;

	barrier();
	return has;
}

void queue_wait(struct queue *queue)
{
	while (!queue_has_used(queue))
		asm volatile("pause");
	queue->seen++;
}

int slot_take(struct slot *slot)
{
	uint32_t number, size;

	if (!queue_has_used(&request_queue))
		return -1;
	number = request_queue.used.ring[request_queue.seen % RING].id;
	size = request_queue.used.ring[request_queue.seen % RING].size;
	request_queue.seen++;
	if (number >= SLOTS || size != SLOT_SIZE)
		fail("a slot came back in a wrong way");
	*slot = slots[number];
	return number;
}

void slot_give_back(int number)
{
	request_queue.desc[number] = (struct desc){ (uint32_t)&slots[number], SLOT_SIZE, DESC_WRITE, 0 };
	make_available(&request_queue, number);
	queue_kick(&request_queue);
}
