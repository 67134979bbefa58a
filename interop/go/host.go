package main

import (
	"crypto/rand"
	"fmt"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	mafmt "github.com/multiformats/go-multiaddr-fmt"
)

const rsaBits = 2048

var keyTypes = map[string]int{
	"ed25519":   crypto.Ed25519,
	"secp256k1": crypto.Secp256k1,
	"ecdsa":     crypto.ECDSA,
	"rsa":       crypto.RSA,
}

// tcpListen matches exactly what the TCP transport listens on: an IP address and a TCP port.
var tcpListen = mafmt.And(mafmt.IP, mafmt.Base(ma.P_TCP))

// newHost makes a TCP + Noise + yamux host with a fresh key and nothing else switched on. It does not listen
// when listen is empty. The null resource and connection managers refuse and prune nothing.
func newHost(keyType string, listen []string) (host.Host, error) {
	key, err := newKey(keyType)
	if err != nil {
		return nil, err
	}
	addresses, err := parseListen(listen)
	if err != nil {
		return nil, err
	}
	return libp2p.New(
		libp2p.Identity(key),
		listenOption(addresses),
		// A dial must leave from a port of its own: with port reuse, a redial of the same peer meets the
		// four-tuple of the connection just closed.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
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

func parseListen(listen []string) ([]ma.Multiaddr, error) {
	addresses := make([]ma.Multiaddr, len(listen))
	for i, text := range listen {
		address, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", text, err)
		}
		if !tcpListen.Matches(address) {
			return nil, &unsupportedError{"listen " + text, "this peer speaks TCP over IP only"}
		}
		addresses[i] = address
	}
	return addresses, nil
}

func listenOption(addresses []ma.Multiaddr) libp2p.Option {
	if len(addresses) == 0 {
		return libp2p.NoListenAddrs
	}
	return libp2p.ListenAddrs(addresses...)
}
