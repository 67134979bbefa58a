"""Counts what RPCs carried, by kind of entry."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..router.events import Outgoing
from ..wire import Rpc


@dataclass(slots=True)
class RpcCounts:
    """Entries of RPCs, one way, since pubsub began; of IHAVE, IWANT and IDONTWANT the ids."""

    subscriptions: int = 0
    publish: int = 0
    ihave: int = 0
    iwant: int = 0
    graft: int = 0
    prune: int = 0
    idontwant: int = 0

    def count(self, rpc: Rpc) -> None:
        """Count all of one RPC."""
        self.subscriptions += len(rpc.subscriptions)
        self.publish += len(rpc.messages)
        self.count_control(rpc)

    def count_control(self, control: Rpc | Outgoing) -> None:
        """Count its control entries."""
        self.ihave += sum(len(ihave.ids) for ihave in control.ihave)
        self.iwant += len(control.iwant)
        self.graft += len(control.graft)
        self.prune += len(control.prune)
        self.idontwant += len(control.idontwant)

    def as_dict(self) -> dict[str, int]:
        """Return the counts by kind."""
        return asdict(self)
