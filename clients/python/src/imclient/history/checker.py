"""Decides, from what clients recorded and what is stored at the end, whether the promises were kept. Pure: no I/O.

It knows docs/protocol.md and docs/data-model.md, and nothing of the server's code. Where a recording cannot decide
(nobody was online, a function may still have been under way) it does not guess.
"""

from __future__ import annotations

from collections.abc import Iterable

from imclient.history.acknowledged import check_acknowledged
from imclient.history.evidence import Evidence
from imclient.history.exchanges import History, history_of
from imclient.history.inboxes import check_final_rows, check_told_counts
from imclient.history.marks import check_marks
from imclient.history.recording import Recording
from imclient.history.stored import check_held, check_log, count_repeats
from imclient.history.tables import Tables
from imclient.history.told import ToldCheck
from imclient.history.verdict import Findings, Verdict
from imclient.history.versions import Versions, stored_bodies


def check(recordings: Iterable[Recording], tables: Tables, *, lagging_reads: bool = False) -> Verdict:
    """Look for broken promises.

    `tables` are as they are when everything has come to rest: queues empty, faults off, all devices online and idle.
    With `lagging_reads` a read that the data model does not call consistent may be older than what is known, as on
    DynamoDB; an emulator's never is. Conversations that no recorded user was in are left out.
    """
    findings = Findings()
    histories = [history_of(recording, findings) for recording in recordings]
    tables = _of_users({history.user for history in histories}, tables, histories)
    evidence, versions = Evidence(histories), Versions(findings)
    findings.counts["recordings"] = len(histories)
    findings.counts["conversations"] = len(tables.logs)
    for log in tables.logs.values():
        check_log(log, findings)
        check_final_rows(log, tables, findings)
        for seq, version, body in stored_bodies(log):
            versions.note(log.conv, seq, version, body, "the store")
    check_acknowledged(histories, tables, evidence, versions, findings)
    ToldCheck(tables, evidence, versions, findings, lagging_reads).check(histories)
    versions.check_glimpses()
    check_told_counts(histories, tables, findings)
    check_marks(histories, tables, findings, lagging_reads=lagging_reads)
    for history in histories:
        check_held(history, tables, findings)
    count_repeats(histories, findings)
    return findings.verdict()


def _of_users(users: set[str], tables: Tables, histories: Iterable[History]) -> Tables:
    """The tables without conversations of strangers; one that somebody was told of stays, whoever is in it."""
    told = {told.conv for history in histories for told in history.told}
    logs = {conv: log for conv, log in tables.logs.items() if conv in told or users & log.stays.keys()}
    return Tables(logs, tables.rows, tables.deleted)
