"""A machine: a QEMU that runs, whoever started it, and who works with it."""
