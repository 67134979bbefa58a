"""Echo: serve a protocol, or call it.

python examples/echo.py                      # listen, and print the addresses
python examples/echo.py ADDRESS MESSAGE      # send a message there and print what comes back
"""

import sys

import trio

from peerstack import DialError, Stream, open_host

ECHO = "/example/echo/1.0.0"


async def echo(stream: Stream) -> None:
    """Send back every byte until the peer has no more."""
    async for chunk in stream:
        await stream.send_all(chunk)


async def serve(listen: str = "/ip4/127.0.0.1/tcp/0") -> None:
    """Listen until interrupted."""
    async with open_host(listen=[listen]) as host:
        host.handle(ECHO, echo)
        for address in host.addresses:
            print(address, flush=True)
        await trio.sleep_forever()


async def call(address: str, message: str) -> bytes:
    """Send a message and return the echo."""
    async with open_host() as host:
        peer = await host.connect(address)
        async with await host.open_stream(peer, ECHO) as stream:
            await stream.send_all(message.encode())
            await stream.send_eof()
            return b"".join([bytes(chunk) async for chunk in stream])


def main() -> None:
    """Serve without arguments, call with an address and a message."""
    try:
        if len(sys.argv) == 1:
            trio.run(serve)
        else:
            print(trio.run(call, sys.argv[1], " ".join(sys.argv[2:])).decode())
    except DialError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
