"""What a client must do, as a state machine without I/O: fed with frames and times, it says what to do next.

`machine` is the way in. Nothing here waits, reads a clock, opens a socket or draws randomness of its own; times are
integer milliseconds on a clock that never goes back. clients/js has the same machine, and clients/scenarios.json is the
table of what both must do.
"""
