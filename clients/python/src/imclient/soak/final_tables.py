"""The tables of a stack as they are now, through boto3 (the package's extra `admin`)."""

from __future__ import annotations

import os
from typing import Any

from imclient.errors import SoakError
from imclient.history.tables import CONVERSATION, INBOX
from imclient.stack import Stack

_OUTPUTS = {CONVERSATION: "ConversationTableName", INBOX: "InboxTableName"}


def final_tables(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    """All items of the tables Conversation and Inbox, as DynamoDB JSON, each read consistently.

    A Scan: 1 R for every 4 KiB of them. The local stack needs no credentials; another one is looked up by its name,
    with the AWS configuration of the caller. Raises SoakError: no boto3, no such stack, AWS refuses.
    """
    try:
        import boto3  # noqa: PLC0415 - optional: only who reads tables needs it
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise SoakError("reading the tables needs boto3: pip install 'imclient[admin]'") from error
    options: dict[str, Any] = {"region_name": stack.region or None}
    session = boto3.Session()
    if stack.endpoint:
        session = boto3.Session(
            botocore_session=botocore.session.Session(
                session_vars={
                    "profile": (None, None, None, None),
                    "config_file": (None, None, os.devnull, None),
                    "credentials_file": (None, None, os.devnull, None),
                }
            )
        )
        options |= {"endpoint_url": stack.endpoint, "config": Config(proxies={})}
        # The emulated cloud's root user, known to everybody.
        options |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    try:
        (described,) = session.client("cloudformation", **options).describe_stacks(StackName=stack.name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        scan = session.client("dynamodb", **options).get_paginator("scan")
        return {
            table: [
                dict(item)
                for page in scan.paginate(TableName=outputs[output], ConsistentRead=True)
                for item in page["Items"]
            ]
            for table, output in _OUTPUTS.items()
        }
    except KeyError as error:
        raise SoakError(f"the stack {stack.name} has no output {error}: is it one of serverless-im?") from error
    except (BotoCoreError, ClientError) as error:
        raise SoakError(f"cannot read the tables of {stack.name}: {error}") from error
