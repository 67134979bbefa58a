"""Identities of every key type, made once."""

import pytest

from peerstack.stack.identity import Identity, KeyType

IDENTITIES = {key_type: Identity.generate(key_type) for key_type in KeyType}


@pytest.fixture(params=KeyType, ids=lambda key_type: key_type.name.lower())
def identity(request: pytest.FixtureRequest) -> Identity:
    """One identity of each key type in turn."""
    return IDENTITIES[request.param]


@pytest.fixture
def identities() -> dict[KeyType, Identity]:
    """One identity of each key type."""
    return IDENTITIES


@pytest.fixture
def ed25519() -> Identity:
    """An Ed25519 identity."""
    return IDENTITIES[KeyType.ED25519]
