"""Settings: what is missing or wrong is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from im.runtime import wiring
from im.runtime.settings import BadSetting, Settings

GOOD = {
    "CONVERSATION_TABLE": "Conversation",
    "INBOX_TABLE": "Inbox",
    "CONNECTION_TABLE": "Connection",
    "AUDIENCE_TABLE": "Audience",
    "CONNECTIONS_ENDPOINT": "https://api.example/v1",
    "FANOUT_QUEUE_URL": "https://sqs.example/fanout.fifo",
    "BROADCAST_QUEUE_URL": "https://sqs.example/broadcast.fifo",
    "EXPRESS_QUEUE_URL": "https://sqs.example/express.fifo",
    "EXPRESS_PARTS_QUEUE_URL": "https://sqs.example/express-parts.fifo",
    "REDELIVERY_QUEUE_URL": "https://sqs.example/redelivery",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.example/dead.fifo",
    "REDELIVER_AFTER_SECONDS": "10",
    "SIGN_IN_POLICY": "multi",
    "MAX_GROUP_MEMBERS": "500",
    "LARGE_GROUP_ABOVE": "200",
    "MAX_GROUPS_PER_USER": "500",
    "MAX_GROUP_ADMINS": "20",
    "MAX_GROUP_NAME": "64",
    "MAX_USERS_AT_ONCE": "200",
    "RECALL_WINDOW_SECONDS": "120",
    "EDIT_WINDOW_SECONDS": "86400",
    "JWT_SECRET_ID": "secret",
}


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def test_values_come_as_they_are() -> None:
    settings = Settings({"NAME": "value", "NUMBER": "12", "SIGN_IN_POLICY": "single", "EMPTY": ""})

    assert settings.text("NAME") == "value"
    assert settings.number("NUMBER") == 12
    assert settings.policy() == "single"
    assert settings.optional("NAME") == "value"
    assert settings.optional("EMPTY") is None
    assert settings.optional("MISSING") is None


@pytest.mark.parametrize("environ", [{}, {"NAME": ""}])
def test_a_missing_or_empty_variable_is_named(environ: dict[str, str]) -> None:
    for read in (Settings(environ).text, Settings(environ).number):
        with pytest.raises(BadSetting, match="NAME is not set") as bad:
            read("NAME")
        assert bad.value.name == "NAME"


@pytest.mark.parametrize("text", ["x", "1.5", "1e3", "-", "5 MB"])
def test_a_wrong_number_is_named(text: str) -> None:
    with pytest.raises(BadSetting, match="NUMBER") as bad:
        Settings({"NUMBER": text}).number("NUMBER")

    assert bad.value.name == "NUMBER"


def test_a_wrong_policy_is_named() -> None:
    with pytest.raises(BadSetting, match=r"SIGN_IN_POLICY.*per_platform, single, multi"):
        Settings({"SIGN_IN_POLICY": "Multi"}).policy()


def test_the_environment_is_the_process_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "some value")

    assert Settings().text("SOME_NAME") == "some value"


@pytest.mark.parametrize(
    ("build", "needs"),
    [
        (wiring.token_verifier, {"JWT_SECRET_ID"}),
        (
            wiring.connections,
            {"CONNECTION_TABLE", "INBOX_TABLE", "AUDIENCE_TABLE", "CONNECTIONS_ENDPOINT", "SIGN_IN_POLICY"},
        ),
        (
            wiring.message_router,
            {
                *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL"),
                *("RECALL_WINDOW_SECONDS", "EDIT_WINDOW_SECONDS"),
            },
        ),
        (
            wiring.sync_router,
            {"CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT"},
        ),
        (
            wiring.group_router,
            {
                *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL"),
                *("MAX_GROUP_MEMBERS", "LARGE_GROUP_ABOVE", "MAX_GROUPS_PER_USER", "MAX_GROUP_ADMINS"),
                *("MAX_GROUP_NAME", "MAX_USERS_AT_ONCE"),
            },
        ),
        (
            wiring.fan_out,
            {
                *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
                *("CONNECTIONS_ENDPOINT", "FANOUT_QUEUE_URL", "BROADCAST_QUEUE_URL"),
                *("REDELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "REDELIVER_AFTER_SECONDS"),
            },
        ),
        (
            wiring.broadcast,
            {
                *("CONVERSATION_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
                *("CONNECTIONS_ENDPOINT", "BROADCAST_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"),
            },
        ),
        (
            wiring.express,
            {
                *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "AUDIENCE_TABLE"),
                *("CONNECTIONS_ENDPOINT", "EXPRESS_QUEUE_URL", "EXPRESS_PARTS_QUEUE_URL"),
                *("REDELIVERY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "REDELIVER_AFTER_SECONDS"),
            },
        ),
        (
            wiring.redelivery,
            {
                *("CONVERSATION_TABLE", "INBOX_TABLE", "CONNECTION_TABLE", "CONNECTIONS_ENDPOINT"),
                *("REDELIVERY_QUEUE_URL", "REDELIVER_AFTER_SECONDS"),
            },
        ),
        (wiring.auditor, {"FANOUT_QUEUE_URL", "EXPRESS_QUEUE_URL"}),
    ],
)
def test_a_function_does_not_start_without_what_it_needs(build: Callable[[Settings], object], needs: set[str]) -> None:
    build(Settings({name: GOOD[name] for name in needs}))

    for name in needs:
        with pytest.raises(BadSetting) as bad:
            build(Settings({other: GOOD[other] for other in needs - {name}}))
        assert bad.value.name == name


def test_published_keys_need_no_secret() -> None:
    verifier = wiring.token_verifier(Settings({"JWKS_URL": "https://keys.example/jwks.json", "JWT_ISSUER": ""}))

    assert verifier.keys.algorithms == ("RS256", "ES256")
    assert verifier.issuer is None
