"""The guest as the host reaches it: SSH, and the agent over it."""
