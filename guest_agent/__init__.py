"""What runs in the guest: answers what the host asks of it."""

#: Of the guest's loopback address; sshd forwards the tool's connections there. Its sshd_config names it too.
PORT = 4554
