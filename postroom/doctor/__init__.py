"""`postroom doctor`: what may be wrong with an instance and its machine, and what to do next."""

from postroom.doctor.diagnosis import Diagnosis, exit_code
from postroom.doctor.examine import examine

__all__ = ["Diagnosis", "examine", "exit_code"]
