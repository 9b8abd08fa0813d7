"""What AWS charges, and what a call takes. The only place for either.

US dollars, us-east-1, on demand, first tier, no free tier, as pages of up to June 2026 quote them; noted down on AS_OF
and not looked up at AWS. Prices change and differ by region: check them at https://aws.amazon.com/pricing before you
rely on a sum. The units in front of them stay.
"""

from __future__ import annotations

from typing import Final

AS_OF: Final = "2026-11-21"
REGION: Final = "us-east-1"

MILLION: Final = 1_000_000

WRITE_UNIT: Final = 0.625 / MILLION
READ_UNIT: Final = 0.125 / MILLION
QUEUE_REQUEST: Final = 0.50 / MILLION
"""SQS FIFO."""
FUNCTION_CALL: Final = 0.20 / MILLION
GB_SECOND: Final = 13.3334 / MILLION
"""Lambda on arm64."""
GATEWAY_MESSAGE: Final = 1.00 / MILLION
"""API Gateway WebSocket, either way. Connection minutes are apart: they cost the same whatever is said."""

# ---- Time: estimates, for the duration of functions alone ---------------------------------------------------------

ROUND_MS: Final = 8.0
"""From a request to its answer: DynamoDB, SQS and the connection API from within a region."""
CPU_MS: Final = 0.3
"""What botocore and our code take of one whole processor for a call."""
MB_OF_A_PROCESSOR: Final = 1769
"""Lambda gives a function as much of a processor as it has of this memory."""
