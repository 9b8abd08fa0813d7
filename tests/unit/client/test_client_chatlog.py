"""Logs are read strictly, and nicknames become user ids that the server takes and that never collide."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imclient.chatlog import Line, read_chat_log, user_ids
from imclient.errors import ChatLogError
from imclient.ids import is_user_id

LOGS = Path(__file__).parents[2] / "data" / "irc"


@given(st.lists(st.text(alphabet="ab|`_-2\n é", max_size=80), max_size=30))
def test_ids_are_valid_different_and_the_same_each_time(nicknames: list[str]) -> None:
    ids = user_ids(nicknames, prefix="run")

    assert set(ids) == set(nicknames)
    assert all(is_user_id(user) for user in ids.values())
    assert len(set(ids.values())) == len(ids)
    assert ids == user_ids(nicknames, prefix="run")


def test_what_is_replaced_or_cut_off_does_not_make_two_people_one() -> None:
    long = "x" * 70
    ids = user_ids(["a|", "a`", "a_", "a_-2", long + "1", long + "2"], prefix="r1")

    assert ids["a|"] == "r1-a_"
    assert ids["a`"] == "r1-a_-2"
    assert ids["a_"] == "r1-a_-3"
    assert ids["a_-2"] == "r1-a_-2-2"
    assert ids[long + "1"] == "r1-" + "x" * 61
    assert ids[long + "2"] == "r1-" + "x" * 59 + "-2"


@pytest.mark.parametrize("prefix", ["a b", "é", "x" * 60])
def test_a_prefix_must_itself_be_fit_for_an_id(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        user_ids(["a"], prefix=prefix)


@pytest.mark.parametrize(("name", "messages", "people"), [("2004-11-15_03", 1077, 76), ("2011-05-29_19", 1208, 152)])
def test_the_real_logs_are_read_whole(name: str, messages: int, people: int) -> None:
    lines = read_chat_log(LOGS / f"{name}.jsonl")

    assert len(lines) == messages
    assert len(set(user_ids([line.nickname for line in lines], prefix="r1").values())) == people


def test_a_limit_and_empty_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"from": "a", "text": " one"}\n\n{"from": "b", "text": "two"}\nnot read\n')

    assert read_chat_log(log, limit=2) == [Line("a", " one"), Line("b", "two")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no message"),
        ("{}\n", "line 1"),
        ('{"from": "a", "text": "x"}\n[1]\n', "line 2"),
        ('{"from": "a", "text": 1}', "line 1"),
        ('{"from": "a", "text": ""}', "line 1"),
        ("nonsense", "not JSON"),
    ],
)
def test_what_is_no_log_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    with pytest.raises(ChatLogError, match=said):
        read_chat_log(log)
