"""Options that several commands have, and how a command ends when the environment is not usable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from imclient.errors import StackError
from imclient.ids import UserId, is_device_id, is_user_id
from imclient.stack import DEFAULT_PATH, PATH_VARIABLE, Stack, load_stack

F = TypeVar("F", bound=Callable[..., Any])


class EnvironmentProblem(click.ClickException):
    """One line for a person, and exit code 2."""

    exit_code = 2


class UserIdType(click.ParamType[UserId]):
    """A user id of the protocol."""

    name = "user"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> UserId:
        """Check and return."""
        if not is_user_id(value):
            self.fail(f"{value!r} is not a user id: 1 to 64 of A-Z a-z 0-9 _ -", param, ctx)
        return UserId(value)


class DeviceIdType(click.ParamType[str]):
    """A device id of the protocol."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check and return."""
        if not is_device_id(value):
            self.fail(f"{value!r} is not a device id: 1 to 64 of A-Z a-z 0-9 _ . -", param, ctx)
        return value


def stack_file_option(*names: str, help: str) -> Callable[[F], F]:  # noqa: A002 - click's word
    """An option that names a stack file."""
    return click.option(
        *names,
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=PATH_VARIABLE,
        default=DEFAULT_PATH,
        show_default=True,
        show_envvar=True,
        help=help,
    )


stack_option = stack_file_option("--stack", "stack_path", help="The file that says where the stack is.")


def stack_at(path: Path) -> Stack:
    """Read the stack file, or end the command with exit code 2."""
    try:
        return load_stack(path)
    except StackError as error:
        raise EnvironmentProblem(str(error)) from error
