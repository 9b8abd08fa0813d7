"""Rules without I/O, clock or randomness. Standard library only."""
