"""A listener that the test drives, and a transport that listens on it."""

from __future__ import annotations

import pytest

from .parts import LISTEN, FakeListener, ListeningTransport


@pytest.fixture
async def listener() -> FakeListener:
    return FakeListener(LISTEN)


@pytest.fixture
def transport(listener: FakeListener) -> ListeningTransport:
    return ListeningTransport(listener)
