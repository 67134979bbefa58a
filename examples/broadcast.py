"""Broadcast: every peer prints the lines of all others, also without a direct connection.

python examples/broadcast.py --listen /ip4/127.0.0.1/tcp/0     # prints its addresses
python examples/broadcast.py --peer ADDRESS                    # in other terminals; then type lines

--listen and --peer may be repeated. Lines of standard input are broadcast; the program ends with the input.
"""

import argparse
import os
import sys

import trio

from peerstack import DialError, open_host
from peerstack.protocols.pubsub import JoinedTopic, PubsubMessage, open_pubsub

TOPIC = "example/broadcast"


def show(message: PubsubMessage[bytes]) -> None:
    """Print a message without control characters, which could control the terminal."""
    text = "".join(letter for letter in message.data.decode(errors="replace") if letter.isprintable())
    author = message.author.short() if message.author else "anonymous"
    print(f"{author}: {text}", flush=True)


async def listen(topic: JoinedTopic[bytes]) -> None:
    """Print what the others say."""
    async for message in topic:
        if message.missed:
            print(f"({message.missed} messages came faster than they could be printed)", file=sys.stderr)
        show(message)


async def say(topic: JoinedTopic[bytes], line: bytes) -> None:
    """Broadcast a line."""
    receipt = await topic.publish(line)
    if receipt.reached_no_peer:
        print("(no peer is subscribed)", file=sys.stderr)


async def speak(topic: JoinedTopic[bytes]) -> None:
    """Broadcast the lines of standard input."""
    rest = b""
    while chunk := await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), 65536, abandon_on_cancel=True):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            await say(topic, line)
    if rest:
        await say(topic, rest)


async def broadcast(listen_at: list[str], peers: list[str]) -> None:
    """Be a peer until standard input ends."""
    async with open_host(listen=listen_at) as host:
        async with open_pubsub(host) as pubsub, pubsub.join(TOPIC) as topic, trio.open_nursery() as nursery:
            nursery.start_soon(listen, topic)
            for address in peers:
                await host.connect(address)
            if peers:
                await topic.wait_peers()
            for own in host.addresses:
                print(own, flush=True)
            await speak(topic)
            nursery.cancel_scope.cancel()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Broadcast lines to all peers.")
    parser.add_argument("--listen", action="append", default=[], metavar="ADDRESS", help="wait for peers here")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="connect to this peer")
    options = parser.parse_args()
    try:
        trio.run(broadcast, options.listen, options.peer)
    except DialError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
