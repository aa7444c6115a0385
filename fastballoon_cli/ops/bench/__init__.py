"""Benches: variants of a balloon or a migration, measured in turn on guests of their own."""
