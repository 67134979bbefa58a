"""A path in our file system is ours to give: what peers name of it, in any way, is never opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import DialError, Host, Identity, open_host
from peerstack.protocols import identify
from peerstack.stack.abc import Stream
from peerstack.stack.addressing import Resolver, parse_address
from peerstack.stack.host.peerstore import Ttl
from peerstack.stack.identity import PeerRecord
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixTransport

ELSEWHERE = parse_address("/ip4/127.0.0.1/tcp/9")


@dataclass
class Trap:
    """A service of this machine behind a unix socket, a victim, and an attacker that knows the path."""

    path: Multiaddr
    victim: Host
    attacker: Host
    identity: Identity
    opened: list[trio.abc.Stream] = field(default_factory=list)

    def says(self, *, signed: bool) -> identify.Identify:
        addresses = (self.path.to_bytes(), ELSEWHERE.to_bytes())
        return identify.Identify(
            public_key=self.identity.public_key.encode(),
            listen_addresses=addresses,
            protocols=(identify.PROTOCOL, identify.PUSH_PROTOCOL),
            signed_record=self.record() if signed else None,
        )

    def record(self) -> bytes:
        addresses = (self.path.to_bytes(), ELSEWHERE.to_bytes())
        return PeerRecord(self.identity.peer_id, 1 << 62, addresses).seal(self.identity).encode()

    async def meet(self) -> None:
        await self.victim.connect(self.attacker.addresses[0])

    def answer(self, *, signed: bool) -> None:
        async def serve(stream: Stream) -> None:
            await identify.serve(stream, self.says(signed=signed))

        self.attacker.handle(identify.PROTOCOL, serve)


@asynccontextmanager
async def trap(folder: Path, resolver: Resolver | None = None) -> AsyncIterator[Trap]:
    path, identity = parse_address(f"/unix{folder}/service.sock"), Identity.generate()
    async with (
        await UnixTransport().listen(path) as service,
        open_host(transports=[TcpTransport(), UnixTransport()], resolver=resolver) as victim,
        open_host(listen=["/ip4/127.0.0.1/tcp/0"], identity=identity) as attacker,
        trio.open_nursery() as nursery,
    ):
        found = Trap(path, victim, attacker, identity)

        async def count() -> None:
            while True:
                raw = await service.accept()
                found.opened.append(raw.stream)
                await raw.stream.aclose()

        nursery.start_soon(count)
        yield found
        nursery.cancel_scope.cancel()


async def by_identify(found: Trap) -> None:
    found.answer(signed=False)
    await found.meet()


async def by_a_signed_record(found: Trap) -> None:
    found.answer(signed=True)
    await found.meet()


async def by_a_push(found: Trap) -> None:
    await found.meet()
    (connection,) = found.attacker.connections()
    async with await found.attacker.open_stream(connection.remote_peer, identify.PUSH_PROTOCOL) as stream:
        await identify.push(stream, found.says(signed=True))
    with trio.fail_after(5):
        while ELSEWHERE not in found.victim.peerstore.addresses(found.attacker.peer_id):
            await trio.testing.wait_all_tasks_blocked(0.01)


async def by_the_record_of_another(found: Trap) -> None:
    """As gossipsub does with the peers that it is told of when it is pruned."""
    found.victim.peerstore.add_record(found.attacker.peer_id, found.record(), Ttl.DISCOVERED)


@pytest.mark.parametrize("way", [by_identify, by_a_signed_record, by_a_push, by_the_record_of_another])
async def test_a_peer_cannot_name_a_path(way: Callable[[Trap], Awaitable[None]], tmp_path: Path) -> None:
    async with trap(tmp_path) as found:
        await way(found)
        peer = found.attacker.peer_id
        assert ELSEWHERE in found.victim.peerstore.addresses(peer), "nothing was learned at all"
        await found.victim.disconnect(peer)
        try:  # where it was reached before is dialed again
            _, report = await found.victim.connect_with_report(peer)
        except DialError as error:
            report = error.report
        assert "unix" not in str(report)
        assert found.opened == []


async def test_a_name_server_cannot_name_a_path(tmp_path: Path) -> None:
    async def records(name: str) -> Sequence[str]:
        return [f"dnsaddr=/unix{tmp_path}/service.sock", f"dnsaddr={ELSEWHERE}"]

    async with trap(tmp_path, Resolver(lookup_txt=records)) as found:
        with pytest.raises(DialError):
            await found.victim.connect("/dnsaddr/example.com")
        assert found.opened == []
        told = await Resolver(lookup_txt=records).resolve_with_problems(parse_address("/dnsaddr/example.com"))
        assert told.addresses == (ELSEWHERE,)
        assert any("path" in problem for problem in told.problems)


async def test_the_user_can_at_any_time(tmp_path: Path) -> None:
    async with trap(tmp_path) as found:
        peer = found.attacker.peer_id
        with pytest.raises(DialError):
            await found.victim.connect(peer, found.path)
        assert len(found.opened) == 1
        found.victim.add_addresses(peer, [found.path])
        await by_the_record_of_another(found)
        with pytest.raises(DialError):
            await found.victim.open_stream(peer, "/any/1")
        assert len(found.opened) == 2, "an address that the user gave was not tried"
