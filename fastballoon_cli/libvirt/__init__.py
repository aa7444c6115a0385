"""Domains of libvirt: its API where it has words, their monitors where it has none."""
