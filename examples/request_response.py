"""Request and response: small JSON messages with a length prefix, many at once over one connection."""

import json
from typing import Any

import trio

from peerstack import Host, PeerId, Stream, open_host
from peerstack.stack.framing import encode_length_prefixed, read_length_prefixed

SUM = "/example/sum/1.0.0"
MAX_MESSAGE = 64 * 1024  # a peer may announce any length; this is what we are willing to hold


async def serve_sum(stream: Stream) -> None:
    """Answer one request."""
    request = json.loads(await read_length_prefixed(stream, limit=MAX_MESSAGE))
    answer = json.dumps({"sum": sum(request["numbers"])}).encode()
    await stream.send_all(encode_length_prefixed(answer))


async def ask(host: Host, peer: PeerId, numbers: list[int]) -> int:
    """Send one request on a stream of its own and return the answer."""
    async with await host.open_stream(peer, SUM) as stream:
        await stream.send_all(encode_length_prefixed(json.dumps({"numbers": numbers}).encode()))
        answer: dict[str, Any] = json.loads(await read_length_prefixed(stream, limit=MAX_MESSAGE))
        return int(answer["sum"])


async def main() -> None:
    """Send twenty requests at the same time."""
    async with open_host(listen=["/ip4/127.0.0.1/tcp/0"]) as server, open_host() as client:
        server.handle(SUM, serve_sum)
        peer = await client.connect(*server.addresses)

        async def one(number: int) -> None:
            print(number, await ask(client, peer, list(range(number + 1))))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)


if __name__ == "__main__":
    trio.run(main)
