"""A secret that is rotated while it is in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from im.aws.secrets import LIFE_MS, PATIENCE_MS, RotatingSecret


class Kept:
    """A secret in Secrets Manager, and a clock."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("secretsmanager", region_name="eu-central-1")
        self.client.create_secret(Name="JwtSecret", SecretString="one")
        self.now = 1_000_000
        self.asked = 0
        self.client.meta.events.register("before-call.secrets-manager.GetSecretValue", self.count)
        self.secret = RotatingSecret(self.client, "JwtSecret", lambda: self.now)

    def count(self, **_: Any) -> None:
        self.asked += 1

    def put(self, value: str) -> None:
        self.client.put_secret_value(SecretId="JwtSecret", SecretString=value)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield Kept()


def test_a_secret_that_was_never_rotated_has_one_value(kept: Kept) -> None:
    assert kept.secret.values() == ("one",)


def test_the_value_before_is_known_too_and_no_older_one(kept: Kept) -> None:
    kept.put("two")
    assert kept.secret.values() == ("two", "one")

    kept.put("three")
    kept.now += LIFE_MS + 1
    assert kept.secret.values() == ("three", "two")


def test_values_are_remembered_for_a_while(kept: Kept) -> None:
    kept.secret.values()
    asked = kept.asked
    kept.put("two")

    kept.now += LIFE_MS
    assert kept.secret.values() == ("one",)
    assert kept.asked == asked
    kept.now += 1
    assert kept.secret.values() == ("two", "one")


def test_a_second_look_is_worth_it_only_after_a_while(kept: Kept) -> None:
    kept.secret.values()
    kept.put("two")
    asked = kept.asked

    kept.now += PATIENCE_MS - 1
    for _ in range(100):
        assert kept.secret.values_now() == ()
    assert kept.asked == asked, "forged tokens buy requests"

    kept.now += 1
    assert kept.secret.values_now() == ("two", "one")
    assert kept.secret.values() == ("two", "one")


def test_a_look_that_fails_raises_and_the_next_one_works(kept: Kept) -> None:
    broken = RotatingSecret(kept.client, "Nowhere", lambda: kept.now)
    with pytest.raises(kept.client.exceptions.ResourceNotFoundException):
        broken.values()

    kept.client.create_secret(Name="Nowhere", SecretString="here")
    assert broken.values() == ("here",)
