"""The processor time of a process, as Linux tells it."""

import os
import sys
from pathlib import Path

_UTIME, _STIME = 11, 12  # behind the name of the program, which may hold anything; see proc_pid_stat(5)


def processor_time(pid: int, proc: Path = Path("/proc")) -> float:
    """Return the seconds that all threads of a process have run, in itself and in the kernel; to 10 ms.

    Raises OSError where there is no /proc.
    """
    if sys.platform == "win32":
        raise OSError("Windows has no /proc")
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")
