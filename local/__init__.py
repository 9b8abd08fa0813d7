"""The whole system on one machine: an emulated cloud, the stack deployed to it, demo users and the chat page.

`python -m local up` runs it (`make run` prepares everything for that). As a library:

    from local import running_stack

    with running_stack() as stack:
        connect(f"{stack.websocket}?token={stack.token('alice')}&device=d1&platform=web")
        stack.cloud.client("dynamodb").scan(TableName=stack.outputs["ConversationTableName"])
"""

from local.cloud import Cloud, running_cloud
from local.deploy import Stack, deploy
from local.errors import LocalStackError
from local.paths import StateDirectory
from local.stack import running_stack

__all__ = ["Cloud", "LocalStackError", "Stack", "StateDirectory", "deploy", "running_cloud", "running_stack"]
