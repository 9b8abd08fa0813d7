"""A secret of Secrets Manager that may be rotated while it is in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

LIFE_MS: Final = 300_000
"""How long values are remembered."""
PATIENCE_MS: Final = 10_000
"""How soon after a look another one is worth it: forged tokens must not buy a request each."""


class RotatingSecret:
    """The current value of a secret and the one before it: PutSecretValue moves the old one there by itself.

    Rotation needs no stop: a token signed with either value is good, and an instance that remembers older values
    looks again when neither fits. 2 requests a look.
    """

    def __init__(self, client: SecretsManagerClient, secret_id: str, clock: Callable[[], int]) -> None:
        self._client = client
        self._secret_id = secret_id
        self._clock = clock
        self._values: tuple[str, ...] = ()
        self._looked_at = 0

    def values(self) -> tuple[str, ...]:
        """The values as remembered, current first. Raises botocore's errors."""
        if not self._values or self._clock() - self._looked_at > LIFE_MS:
            self._look()
        return self._values

    def values_now(self) -> tuple[str, ...]:
        """The values after another look; none when the last look was just now."""
        if self._clock() - self._looked_at < PATIENCE_MS:
            return ()
        self._look()
        return self._values

    def _look(self) -> None:
        current = self._client.get_secret_value(SecretId=self._secret_id)["SecretString"]
        try:
            previous = self._client.get_secret_value(SecretId=self._secret_id, VersionStage="AWSPREVIOUS")
        except self._client.exceptions.ResourceNotFoundException:
            self._values = (current,)  # never rotated
        else:
            self._values = (current, previous["SecretString"])
        self._looked_at = self._clock()
