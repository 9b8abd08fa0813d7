"""A whole stack for as long as a `with` block lasts: for tests and measurements."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from local.chaos import chaos_of, running_proxy, serving_chaos
from local.cloud import running_cloud
from local.deploy import STACK_NAME, Stack, Tell, deploy
from local.paths import TEMPLATE, StateDirectory
from local.processes import free_port


@contextlib.contextmanager
def running_stack(
    *,
    port: int | None = None,
    state_dir: Path | None = None,
    template: Path = TEMPLATE,
    parameters: Mapping[str, str] | None = None,
    name: str = STACK_NAME,
    chaos: bool = False,
    chaos_port: int | None = None,
    tell: Tell = lambda _: None,
) -> Iterator[Stack]:
    """An emulated cloud with the stack deployed to it; what is running ends with the block.

    Without `port`: a free one. Without `state_dir`: a temporary directory, deleted at the end; with one, the stack and
    its data are there again the next time. `template` may be another one than the repository's (a changed copy, say, in
    any directory). With `chaos`, the functions call the cloud through a proxy on `chaos_port` (or a free one), which is
    calm until `stack.chaos` says otherwise. Raises LocalStackError.
    """
    with contextlib.ExitStack() as at_the_end:
        if state_dir is None:
            state_dir = Path(at_the_end.enter_context(tempfile.TemporaryDirectory(prefix="serverless-im-")))
        port = port or free_port()
        proxy = at_the_end.enter_context(running_proxy(chaos_port or free_port(), port)) if chaos else None
        endpoint = None if proxy is None else proxy.endpoint
        cloud = at_the_end.enter_context(running_cloud(port, StateDirectory(state_dir.resolve()), proxy=endpoint))
        stack = deploy(cloud, name=name, template=template, parameters=parameters, tell=tell)
        if proxy is not None:
            injector = chaos_of(proxy, cloud, name)
            at_the_end.enter_context(serving_chaos(injector))
            stack = replace(stack, chaos=injector)
        yield stack
