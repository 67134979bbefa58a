package main

import (
	"crypto/rand"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

const rsaBits = 2048

var keyTypes = map[string]int{
	"ed25519":   crypto.Ed25519,
	"secp256k1": crypto.Secp256k1,
	"ecdsa":     crypto.ECDSA,
	"rsa":       crypto.RSA,
}

// newHost makes a host of the given layers with a fresh key and nothing else switched on. It does not listen
// when listen is empty. The null resource and connection managers refuse and prune nothing.
func newHost(keyType string, layers layers, listen []string) (host.Host, error) {
	key, err := newKey(keyType)
	if err != nil {
		return nil, err
	}
	addresses, err := layers.parseListen(listen)
	if err != nil {
		return nil, err
	}
	carried, err := layers.options()
	if err != nil {
		return nil, err
	}
	return libp2p.New(
		libp2p.ChainOptions(carried...),
		libp2p.Identity(key),
		listenOption(addresses),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.UserAgent("go-libp2p/"+libraryVersion()),
		libp2p.ProtocolVersion("interop/1.0.0"),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
		// A known reachability keeps AutoNAT from probing.
		libp2p.ForceReachabilityPrivate(),
	)
}

func newKey(keyType string) (crypto.PrivKey, error) {
	kind, known := keyTypes[keyType]
	if !known {
		return nil, &unsupportedError{"key-type " + keyType, "not a key type of this peer"}
	}
	key, _, err := crypto.GenerateKeyPairWithReader(kind, rsaBits, rand.Reader)
	return key, err
}

func listenOption(addresses []ma.Multiaddr) libp2p.Option {
	if len(addresses) == 0 {
		return libp2p.NoListenAddrs
	}
	return libp2p.ListenAddrs(addresses...)
}
