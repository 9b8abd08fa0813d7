"""The protocol as clients see it: frames, the data of every operation, the error table."""
