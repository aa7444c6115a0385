"""This host: QEMU processes, their monitors, and the registry of running VMs."""
