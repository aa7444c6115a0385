/*
 * The firmware of the bare guest, and all of it: where the CPU begins, at the end of a ROM of 64 KiB. It goes to 32-bit
 * protected mode with flat segments, copies the program from the ROM's beginning into RAM, and calls it. Paging and
 * interrupts are off and stay so.
 */
	.section .reset, "ax"
	.code16
reset:	cli
	cld
	lgdtl	%cs:0xff00 + gdt_pointer - reset
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $flat

	.code32
flat:	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$stack_end, %esp
	movl	$rom, %esi
	movl	$program, %edi
	movl	$program_words, %ecx
	rep movsl
	movl	$bss, %edi
	movl	$bss_words, %ecx
	xorl	%eax, %eax
	rep stosl
	movl	$guest, %eax
	jmp	*%eax

	.balign	8
gdt:	.quad	0			/* the others are marked as accessed: nobody can do that in a ROM */
	.quad	0x00cf9b000000ffff	/* code */
	.quad	0x00cf93000000ffff	/* data */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.org	0xf0			/* 16 bytes below 4 GiB */
	.code16
	jmp	reset
	.org	0x100

	.section .note.GNU-stack, "", @progbits
