"""Gets hold of those who take part: peers to start, and environments to import from."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.footprint import CanNotInstall, make_environments
from benchmarks.measures import BARE, CEILINGS, OURS, PACED, SMALL, SMALL_DATAGRAM, TRIO, Group
from benchmarks.pubsub import TEAM_WORK
from benchmarks.work import WORK
from interop.build import RECIPES, BuildFailed, ToolchainMissing, toolchain_version
from interop.matrix import Program
from interop.run import program

CEILING_PEER = Path(__file__).with_name("ceiling_peer.py")
BY_PEERS = WORK.keys() | TEAM_WORK.keys()
"""Groups whose work is done by peer programs."""


@dataclass
class Entrants:
    """Those who take part, and why others do not."""

    programs: dict[str, Program] = field(default_factory=dict)
    """Peer programs by name."""
    pythons: dict[str, Path] = field(default_factory=dict)
    """Interpreters of environments by name."""
    toolchains: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, group: Group) -> list[str]:
        """Return the names of those who can take part in a group."""
        if group.key in BY_PEERS:
            return [name for name in group.entrants if name in self.programs]
        return [name for name in group.entrants if self.lender(name) in self.pythons]

    @staticmethod
    def lender(name: str) -> str:
        """Return whose environment is used: trio alone and nothing at all are imported in ours."""
        return OURS if name in (TRIO, BARE) else name


@contextmanager
def gather(names: Sequence[str], groups: Sequence[Group]) -> Iterator[Entrants]:
    """Build and install what the groups need of ours and of the foreign `names`."""
    entrants = Entrants()
    ours = entrants.programs[OURS] = program(OURS)
    entrants.programs[SMALL] = Program(name=SMALL, argv=[*ours.argv, "--quic-datagram", str(SMALL_DATAGRAM)])
    for name in names:
        _add_foreign(entrants, name)
    if "py" in entrants.programs:
        entrants.programs[PACED] = Program(name=PACED, argv=entrants.programs["py"].argv)
    for mode in CEILINGS:
        entrants.programs[mode] = Program(name=mode, argv=[sys.executable, str(CEILING_PEER), mode])
    with tempfile.TemporaryDirectory(prefix="peerstack-bench-") as folder:
        if any(group.key not in BY_PEERS for group in groups):
            _add_environments(entrants, Path(folder))
        yield entrants


def _add_foreign(entrants: Entrants, name: str) -> None:
    try:
        entrants.programs[name] = program(name)
    except (ToolchainMissing, BuildFailed) as error:
        entrants.left_out[name] = str(error).splitlines()[0]
        print(f"{name} is left out: {error}", file=sys.stderr)
        return
    if name != "py":  # the Python of all others here
        first = RECIPES[name].versions[0]
        said = toolchain_version([first])
        entrants.toolchains[name] = said if said.startswith(first[0]) else f"{first[0]} {said}"


def _add_environments(entrants: Entrants, folder: Path) -> None:
    print("installing into fresh environments", file=sys.stderr, flush=True)
    try:
        entrants.pythons |= make_environments(folder)
    except CanNotInstall as error:
        entrants.left_out["Import time and installed size"] = str(error)
        print(f"no fresh environments: {error}", file=sys.stderr)
        return
    if "py" in entrants.programs:
        entrants.pythons["py"] = Path(entrants.programs["py"].argv[0])
