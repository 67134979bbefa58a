"""Faults of other implementations, known by their agent, that we work around."""

from __future__ import annotations

import re

_JS_AGENT = re.compile(r"js-libp2p/|\S+/\S+ (node|deno|bun|electron|browser|react-native)/")
"""Js-libp2p lets an application choose the first word, but puts the platform behind it."""


def takes_early_proposals(agent: str) -> bool:
    """Return whether a peer may be sent a protocol proposal and data without waiting for its answer.

    js-libp2p (seen in 3.3.11) drops data that arrives with the proposal when the end of the stream arrives before
    it has answered: its reading side counts as ended (`AbstractMessageStream.dispatchReadBuffer`) by the time
    multistream-select gives back what it read too much.
    """
    return _JS_AGENT.match(agent) is None
