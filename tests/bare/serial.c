/* The serial port, by which the test talks to the guest. */

#include "guest.h"

#define COM1			0x3f8
#define LINE_STATUS		(COM1 + 5)
#define HAS_INPUT		0x01
#define CAN_SEND		0x20

static void put_char(char c)
{
	while (!(inb(LINE_STATUS) & CAN_SEND))
		;
	outb(COM1, c);
}

void put_string(const char *string)
{
	while (*string)
		put_char(*string++);
}

void put_value(const char *prefix, const char *name, uint32_t value)
{
	char digits[11];
	int at = sizeof(digits) - 1;

	digits[at] = 0;
	do {
		digits[--at] = '0' + value % 10;
		value /= 10;
	} while (value);

	put_char(' ');
	put_string(prefix);
	put_string(name);
	put_char('=');
	put_string(digits + at);
}

bool get_line(char *line, uint32_t size)
{
	static uint32_t length;

	while (inb(LINE_STATUS) & HAS_INPUT) {
		char c = inb(COM1);

		if (c == '\n') {
			line[length] = 0;
			length = 0;
			return true;
		}
		if (length < size - 1)
			line[length++] = c;
	}
	return false;
}

_Noreturn void fail(const char *why)
{
	put_string("fail: ");
	put_string(why);
	put_char('\n');
	for (;;)
		asm volatile("hlt");
}
