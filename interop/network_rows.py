"""The row about private networks: who has another network's key stays out, and is told why."""

from functools import partial

from interop.matrix import CheckFailed, Direction, Session, connect, expect
from interop.peer import CommandFailed, Peer
from interop.pubsub_talk import until

OTHER_KEY = "another network's key refused"
OUR_ERROR = ("DialError", "security negotiation", "network key")
"""What our error is, the stage it names, and its advice."""
OUR_REFUSAL = "network key"


async def other_key_refused(session: Session) -> None:
    """An outsider fails to connect; ours, on either side, says where and why; the listener serves on."""
    assert session.outsider is not None
    error = await _failure(session.outsider, session.listener.address)
    if session.direction is Direction.OURS_DIALS:
        expect(all(words in error for words in OUR_ERROR), f"the outsider was told: {error}")
    else:
        # The outsider may have given up first, and ours know of it a moment later.
        await until("ours waits to refuse", partial(_refusals, session.ours), lambda found: OUR_REFUSAL in str(found))
    await session.dialer.call("ping", peer=session.listener.peer_id, count=1)
    await session.dialer.call("disconnect", peer=session.listener.peer_id)
    await connect(session)
    await session.dialer.call("ping", peer=session.listener.peer_id, count=1)


async def _refusals(ours: Peer) -> list[str]:
    return [str(reason) for reason in (await ours.call("refusals"))["reasons"]]


async def _failure(outsider: Peer, address: str) -> str:
    try:
        answer = await outsider.call("connect", address=address)
    except CommandFailed as failure:
        return str(failure)
    raise CheckFailed(f"connected to {answer.get('peer_id')} with the key of another network")
