/* How the guest answers the host's requests */

#ifndef BARE_ANSWERS_H
#define BARE_ANSWERS_H

#include "guest.h"

/* The test has the same list. */
enum {
	HONEST,
	LIAR,		/* some of the pages in use are told, too */
	STALE,		/* no answer till the host asks again; then pages in use are told with the old id */
	SILENT,		/* no answer at all */
	HALF,		/* half of what is free is told, and no answer comes */
	REFUSE,
	RESET,		/* the device is reset, then pages in use are told with the old id */
	GUESS,		/* there is one slot, for one request; then pages in use are told with ids that are still to come */
};

void answers_set(uint32_t how, uint32_t cycles);
void answers_poll(void);
void answers_report(void);

/* Bytes of a message: the bitmap ends with the word of 64 bits that has the last bit. */
uint32_t message_size(const struct message *message);

#endif
