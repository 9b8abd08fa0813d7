"""The logger of all functions: one structured line an invocation, JSON, with the request id."""

from __future__ import annotations

from typing import Final

from aws_lambda_powertools import Logger

log: Final = Logger(service="im", log_uncaught_exceptions=True)
"""Level from LOG_LEVEL. No text of a message, no token and no secret is ever logged."""
