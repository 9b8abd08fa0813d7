"""`im admin dead` and `im admin redrive` as they are typed: what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from imclient.admin.redrive import DeadLetterQueue
from imclient.cli import admin_dead, admin_options, admin_redrive, main
from tests.unit.client.dead_letter_queue import Client, Cloud, cloud_on_moto, entry_body, part_body


@pytest.fixture(scope="module")
def queues() -> Iterator[Cloud]:
    with cloud_on_moto() as cloud:
        yield cloud


@pytest.fixture
def cloud(queues: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The queues that the commands find for --stack im."""
    queues.clear()
    of = {"im": queues.queues()}
    monkeypatch.setattr(admin_options, "queues_of_account", lambda name, **_: of[name])
    for command in (admin_dead, admin_redrive):
        monkeypatch.setattr(command, "DeadLetterQueue", partial(DeadLetterQueue, pause=queues.pass_s))
    return queues


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS configuration, and no local stack."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("IM_STACK", str(tmp_path / "stack.json"))


def im(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["admin", *arguments])


def on_stack(*arguments: str) -> Result:
    return im(*arguments, "--stack", "im")


def test_dead_lists_what_is_there_without_any_text(cloud: Cloud) -> None:
    entry = cloud.entry("d:ann:bob", 17)
    part = cloud.bury(part_body("g:team", 3, 5), "g:team#0", source="broadcast", parked="ValueError by KeyError")
    broken = cloud.bury('{"secret', "x", source="fanout", parked="UnreadableMessage")

    shown = on_stack("dead")

    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].startswith(f"{entry}  d:ann:bob 17 fanout  0:00:")
    assert lines[0].endswith("received 1 times: failed again and again")
    assert lines[1].startswith(f"{part}  g:team 3-5 broadcast  ")
    assert lines[1].endswith(": ValueError by KeyError")
    assert lines[2].startswith(f"{broken}  unreadable, from fanout  ")
    assert lines[3:] == ["3 dead letters"]
    assert "secret" not in shown.output


def test_dead_for_a_program(cloud: Cloud) -> None:
    entry, broken = cloud.entry("d:ann:bob", 17), cloud.bury("{", "x")
    cloud.pass_s(90)

    shown = json.loads(on_stack("dead", "--json").output)

    assert (shown["later"], shown["unseen"]) == (0, 0)
    first, second = shown["dead"]
    assert first.pop("age") >= 0
    assert first == {
        "id": entry,
        "source": "fanout",
        "readable": True,
        "conv": "d:ann:bob",
        "first": 17,
        "last": 17,
        "packet": None,
        "reason": "failed again and again",
        "received": 1,
    }
    assert (second["id"], second["readable"], second["source"], second["conv"]) == (broken, False, None, None)


def test_a_packet_whose_money_was_not_moved_is_one_of_no_conversation(cloud: Cloud) -> None:
    letter = cloud.bury('{"v":1,"packet":"rpabc"}', "rpabc", source="settlement", parked="KeyError")

    assert on_stack("dead").output.splitlines()[0].startswith(f"{letter}  rpabc settlement  0:00:")
    (shown,) = json.loads(on_stack("dead", "--json").output)["dead"]
    assert (shown["readable"], shown["source"], shown["packet"], shown["conv"]) == (True, "settlement", "rpabc", None)
    assert "left: 1 not chosen" in on_stack("redrive", "--conv", "d:ann:bob").output
    assert on_stack("redrive").output.splitlines()[1:] == ["1 moved"]
    assert cloud.content("settlement") == [("rpabc", '{"v":1,"packet":"rpabc"}')]


def test_dead_of_one_conversation(cloud: Cloud) -> None:
    cloud.entry("d:ann:bob", 17)
    cloud.entry("d:ann:ben", 2)

    shown = on_stack("dead", "--conv", "d:ann:ben")

    assert [line.split("  ")[1] for line in shown.output.splitlines()[:1]] == ["d:ann:ben 2 fanout"]
    assert shown.output.splitlines()[1:] == ["1 dead letters", "left: 1 not chosen"]


def test_redrive_says_what_it_has_moved_and_again_that_there_is_nothing(cloud: Cloud) -> None:
    entry = cloud.entry("d:ann:bob", 17)

    first, second = on_stack("redrive"), on_stack("redrive")

    assert first.exit_code == 0
    assert first.output.splitlines()[0].startswith(f"moved: {entry}  d:ann:bob 17 fanout")
    assert first.output.splitlines()[1:] == ["1 moved"]
    assert (second.exit_code, second.output) == (0, "0 moved\n")
    assert cloud.content("fanout") == [("d:ann:bob", entry_body("d:ann:bob", 17))]


def test_redrive_ends_with_1_when_something_of_it_stays(cloud: Cloud) -> None:
    cloud.entry("d:ann:bob", 17)
    broken = cloud.bury("{", "x")

    ended = on_stack("redrive")

    assert ended.exit_code == 1
    lines = ended.output.splitlines()
    assert lines[1].startswith(f"stays, unreadable: {broken}")
    assert lines[2:] == ["1 moved", "left: 1 that cannot be read"]


def test_redrive_ends_with_1_when_another_one_holds_something(cloud: Cloud) -> None:
    cloud.entry("d:ann:bob", 17)
    cloud.sqs.receive_message(QueueUrl=cloud.urls["dead"], VisibilityTimeout=100)

    ended = on_stack("redrive")

    assert ended.exit_code == 1
    assert "left: 1 not seen" in ended.output


def test_redrive_of_some_ids(cloud: Cloud) -> None:
    first, second = cloud.entry("d:ann:bob", 17), cloud.entry("d:ann:bob", 18)

    assert on_stack("redrive", "--only", second).exit_code == 0
    missing = on_stack("redrive", "--only", second, "--only", "nobody\x1b[2J")
    assert missing.exit_code == 1
    assert f"not found: {second}" in missing.output.splitlines()
    assert r"not found: nobody\x1b[2J" in missing.output.splitlines()

    assert cloud.content("dead") == [("d:ann:bob", entry_body("d:ann:bob", 17))]
    assert on_stack("redrive", "--only", first, "--conv", "g:other").exit_code == 0
    assert len(cloud.content("dead")) == 1


def test_a_dry_run_moves_and_deletes_nothing(cloud: Cloud) -> None:
    entry, broken = cloud.entry("d:ann:bob", 17), cloud.bury("{", "x")

    moving = on_stack("redrive", "--dry-run")
    deleting = on_stack("redrive", "--drop", broken, "--dry-run")

    assert moving.exit_code == 1
    assert moving.output.splitlines()[0].startswith(f"would be moved: {entry}")
    assert moving.output.splitlines()[1].startswith(f"stays, unreadable: {broken}")
    assert moving.output.splitlines()[2] == "1 would be moved"
    assert deleting.exit_code == 0
    assert deleting.output.splitlines()[0].startswith(f"would be deleted: {broken}")
    assert len(cloud.content("dead")) == 2
    assert cloud.content("fanout") == []


def test_drop_deletes_only_when_told_to(cloud: Cloud) -> None:
    broken = cloud.bury("{", "x")
    cloud.entry("d:ann:bob", 17)

    assert on_stack("redrive", "--drop", broken).exit_code == 2
    assert len(cloud.content("dead")) == 2
    dropped = on_stack("redrive", "--drop", broken, "--yes")

    assert dropped.exit_code == 0
    assert dropped.output.splitlines()[0].startswith(f"deleted: {broken}")
    assert cloud.content("dead") == [("d:ann:bob", entry_body("d:ann:bob", 17))]
    assert cloud.content("fanout") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("redrive", "--drop", "x", "--yes", "--conv", "g:team"),
        ("redrive", "--drop", "x", "--yes", "--only", "y"),
        ("redrive", "--yes"),
        ("redrive", "--region", "eu-central-1"),
        ("dead", "--profile", "ops"),
        ("resurrect",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    ended = im(*arguments)

    assert ended.exit_code == 2
    assert "Usage:" in ended.output


@pytest.mark.parametrize("command", ["dead", "redrive"])
def test_when_aws_refuses(cloud: Cloud, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(operation: str, _params: dict[str, Any]) -> None:
        if operation == "receive_message":
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not for you"}}, "ReceiveMessage")

    client = Client(cloud)
    client.before = refuse
    monkeypatch.setattr(admin_options, "queues_of_account", lambda *_, **__: cloud.queues(client))

    ended = on_stack(command)

    assert ended.exit_code == 2
    assert "stopped; 0 " in ended.output
    assert "AccessDenied" in ended.output
    assert "not for you" in ended.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no stack found"),
        (("--stack", "im"), "You must specify a region"),
        (("--stack", "im", "--region", "eu-central-1"), "Unable to locate credentials"),
        (("--stack", "im", "--profile", "nobody"), "nobody"),
    ],
)
def test_without_a_usable_stack(arguments: tuple[str, ...], says: str) -> None:
    ended = im("dead", *arguments)

    assert ended.exit_code == 2
    assert says in ended.output
    assert len(ended.output.splitlines()) == 1


def test_a_stack_file_of_a_stack_on_aws_names_no_local_stack(tmp_path: Path) -> None:
    stack = {"websocket": "wss://example", "jwt": {"alg": "HS256", "secret": "s"}}
    (tmp_path / "stack.json").write_text(json.dumps(stack))

    ended = im("dead")

    assert ended.exit_code == 2
    assert "--stack" in ended.output


def test_the_other_commands_do_without_boto3() -> None:
    program = (
        "import sys; sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from click.testing import CliRunner; from imclient.cli import main\n"
        "ended = [CliRunner().invoke(main, words) for words in (['token', '--help'], ['admin', 'dead'])]\n"
        "print([one.exit_code for one in ended], ended[1].output)"
    )

    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert out.startswith("[0, 2] ")
    assert "pip install 'imclient[admin]'" in out
