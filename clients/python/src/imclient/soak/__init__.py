"""People who use a deployed stack for some minutes, with or without faults, and what the history checker says of it."""

from imclient.soak.chaos import ChaosControl, control_of
from imclient.soak.final_tables import final_tables
from imclient.soak.run import Plan, Report, Soak, TablesNow

__all__ = ["ChaosControl", "Plan", "Report", "Soak", "TablesNow", "control_of", "final_tables"]
