"""The agent: runs inside the guest, measures it and works its memory. Standard library only."""
