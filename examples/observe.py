"""Observe: print every event of a host, as metrics and user interfaces would take them."""

import trio

from peerstack import open_host, ping
from peerstack.stack.events import Event


class Printer:
    """An observer is anything with `notify`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def notify(self, event: Event) -> None:
        """Print the kind of the event."""
        print(f"{self._name}: {type(event).__name__}")


async def main() -> None:
    """Connect, ping, disconnect, and see what happens."""
    async with (
        open_host(listen=["/ip4/127.0.0.1/tcp/0"], observers=[Printer("alice")]) as alice,
        open_host(observers=[Printer("bob")]) as bob,
    ):
        peer = await bob.connect(*alice.addresses)
        await ping(bob, peer)
        await bob.disconnect(peer)


if __name__ == "__main__":
    trio.run(main)
