"""`postroom doctor`: what may be wrong with an instance and its machine, and what to do next."""

from postroom.doctor.examine import examine
from postroom.doctor.finding import Finding, exit_code

__all__ = ["Finding", "examine", "exit_code"]
