"""Chaos on the local stack: a faulty network between its functions and the cloud, and processes that end at any moment.

Only for a stack that was started for it (`make run CHAOS=1`, `running_stack(chaos=True)`): nothing of it exists else.
"""

from local.chaos.control import serving_chaos
from local.chaos.injector import Chaos, chaos_of
from local.chaos.proxy import FaultyProxy, Injected, Trap, running_proxy

__all__ = ["Chaos", "FaultyProxy", "Injected", "Trap", "chaos_of", "running_proxy", "serving_chaos"]
