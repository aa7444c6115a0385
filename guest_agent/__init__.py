"""What runs in the guest: answers what the host asks of it."""

#: Of the guest's loopback address; sshd forwards the tool's connections there.
PORT = 4554
