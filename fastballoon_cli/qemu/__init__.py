"""What a QEMU says and does when asked, through its monitor."""
