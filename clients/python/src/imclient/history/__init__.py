"""Client histories: recorded by devices, and checked against what is stored.

recorder = Recorder("alice", "d1", "web", clock=milliseconds)
await Connection.open(..., listener=recorder.connection())
...
recorder.holds(conv, seqs)
verdict = check([recorder.recording], Tables.of(conversation_items, inbox_items))
"""

from imclient.history.checker import check
from imclient.history.recording import (
    TABLES_FILE,
    Closed,
    Holds,
    In,
    Opened,
    Out,
    Recorder,
    Recording,
    file_name,
    read_recording,
    read_recordings,
    read_tables,
    write_tables,
)
from imclient.history.tables import Tables
from imclient.history.verdict import Counts, Kind, Verdict, Violation

__all__ = [
    "TABLES_FILE",
    "Closed",
    "Counts",
    "Holds",
    "In",
    "Kind",
    "Opened",
    "Out",
    "Recorder",
    "Recording",
    "Tables",
    "Verdict",
    "Violation",
    "check",
    "file_name",
    "read_recording",
    "read_recordings",
    "read_tables",
    "write_tables",
]
