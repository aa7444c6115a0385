"""What the program exists for; no Click, no printing."""
