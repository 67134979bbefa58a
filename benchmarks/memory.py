"""The memory of a process, as Linux tells it."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Sizes in KiB."""

    rss: float
    """Resident set: all pages in memory, shared ones too."""
    pss: float
    """Proportional set: a page that n processes share counts as 1/n."""

    def __sub__(self, other: "Memory") -> "Memory":
        return Memory(rss=self.rss - other.rss, pss=self.pss - other.pss)

    def __truediv__(self, by: float) -> "Memory":
        return Memory(rss=self.rss / by, pss=self.pss / by)


def memory_of(pid: int, proc: Path = Path("/proc")) -> Memory:
    """Return the memory of a process; raises OSError where there is no /proc."""
    folder = proc / str(pid)
    return Memory(
        rss=_kibibytes((folder / "status").read_text(), "VmRSS"),
        pss=_kibibytes((folder / "smaps_rollup").read_text(), "Pss"),
    )


def peak_of(pid: int, proc: Path = Path("/proc")) -> float:
    """Return the largest resident set that a process has had, in KiB; raises OSError where there is no /proc."""
    return _kibibytes((proc / str(pid) / "status").read_text(), "VmHWM")


def _kibibytes(text: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name} in it")
    return float(found[1])
