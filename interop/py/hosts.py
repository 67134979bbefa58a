"""Makes py-libp2p hosts, with room for the benchmarks."""

from layers import layers
from libp2p import new_host
from libp2p.crypto import ed25519, rsa, secp256k1
from libp2p.network.config import ConnectionConfig
from libp2p.rcmgr import ResourceLimits, ResourceManager
from libp2p.rcmgr.connection_limits import new_connection_limits

# Never reached in a run. It has to be far above the 600 of the contract, since an accepted connection
# gives its slot back only when the swarm ends (Swarm._do_handle_inbound_connection waits for that), not
# when the connection does.
MAX_CONNECTIONS = 100_000
MAX_STREAMS = 100_000
RSA_BITS = 2048

KEY_MAKERS = {
    "ed25519": ed25519.create_new_key_pair,
    "secp256k1": secp256k1.create_new_key_pair,
    "rsa": lambda: rsa.create_new_key_pair(RSA_BITS),
}
UNSUPPORTED_KEYS = {
    "ecdsa": "py-libp2p has no ECDSA host key: ECCPrivateKey.sign and ECCPublicKey.verify raise "
    "NotImplementedError, and its key deserializer knows no ECDSA",
}


def make_host(options):
    """Return a host that is not running yet, with a fresh key, as the command line says."""
    key_pair = KEY_MAKERS[options.key_type]()
    return new_host(
        key_pair=key_pair,
        **layers(key_pair, options),
        resource_manager=_limits(),
        connection_config=_connections(),
    )


def _limits():
    # By default more than 10 connections a second of one peer are refused (after 50), and above 256 in all.
    return ResourceManager(
        limits=ResourceLimits(max_connections=MAX_CONNECTIONS, max_streams=MAX_STREAMS),
        connection_limits=new_connection_limits(),
        enable_rate_limiting=False,
    )


def _connections():
    # Watermarks of 0 keep the auto-connector from dialing known peers; the grace period stops the pruner.
    return ConnectionConfig(
        max_connections=MAX_CONNECTIONS,
        min_connections=0,
        low_watermark=0,
        high_watermark=0,
        max_connections_per_peer=MAX_CONNECTIONS,
        grace_period=86_400.0,
    )
