package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
	mafmt "github.com/multiformats/go-multiaddr-fmt"
)

var (
	tcpListen    = mafmt.And(mafmt.IP, mafmt.Base(ma.P_TCP))
	secureListen = mafmt.And(tcpListen, mafmt.Or(
		mafmt.And(mafmt.Base(ma.P_TLS), mafmt.Base(ma.P_WS)),
		mafmt.Base(ma.P_WSS),
	))
	// canListen matches exactly what the transports below listen on; Or takes the first form that fits, so the
	// shortest comes last.
	canListen = mafmt.Or(
		secureListen,
		mafmt.And(tcpListen, mafmt.Base(ma.P_WS)),
		tcpListen,
		mafmt.And(mafmt.IP, mafmt.Base(ma.P_UDP), mafmt.Base(ma.P_QUIC_V1)),
	)
)

// layers says which security protocol and muxer are offered, what secure WebSocket shows and trusts, and which
// private network the host is in.
type layers struct{ security, muxer, cert, certKey, ca, psk string }

func (l *layers) define(flags *flag.FlagSet) {
	flags.StringVar(&l.security, "security", "noise", "noise or tls")
	flags.StringVar(&l.muxer, "muxer", "yamux", "yamux; go-libp2p has no mplex")
	flags.StringVar(&l.cert, "cert", "", "PEM certificate shown by secure WebSocket listeners")
	flags.StringVar(&l.certKey, "cert-key", "", "PEM key of --cert")
	flags.StringVar(&l.psk, "psk", "", "key file of the private network to be in, which QUIC cannot be part of")
	flags.StringVar(&l.ca, "ca", "", "PEM certificates that secure WebSocket dials trust; the system's without it")
}

// options are those of a host that dials every transport; listening is decided by the addresses.
func (l *layers) options() ([]libp2p.Option, error) {
	if l.muxer != "yamux" {
		return nil, &unsupportedError{"muxer " + l.muxer, "go-libp2p has yamux only"}
	}
	security, err := l.securityOption()
	if err != nil {
		return nil, err
	}
	secure, err := l.websocketOptions()
	if err != nil {
		return nil, err
	}
	outer, err := l.outerOption()
	if err != nil {
		return nil, err
	}
	return []libp2p.Option{
		// A dial must leave from a port of its own: with port reuse, a redial of the same peer meets the
		// four-tuple of the connection just closed.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Transport(websocket.New, secure...),
		outer,
		security,
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
	}, nil
}

// outerOption is QUIC, or the private network that has no QUIC.
func (l *layers) outerOption() (libp2p.Option, error) {
	if l.psk == "" {
		return libp2p.Transport(quic.NewTransport), nil
	}
	file, err := os.Open(l.psk)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	key, err := pnet.DecodeV1PSK(file)
	if err != nil {
		return nil, fmt.Errorf("--psk %s: %w", l.psk, err)
	}
	return libp2p.PrivateNetwork(key), nil
}

func (l *layers) securityOption() (libp2p.Option, error) {
	switch l.security {
	case "noise":
		return libp2p.Security(noise.ID, noise.New), nil
	case "tls":
		return libp2p.Security(libp2ptls.ID, libp2ptls.New), nil
	}
	return nil, &unsupportedError{"security " + l.security, "not a security protocol of this peer"}
}

func (l *layers) websocketOptions() ([]any, error) {
	var options []any
	if l.cert != "" {
		shown, err := tls.LoadX509KeyPair(l.cert, l.certKey)
		if err != nil {
			return nil, fmt.Errorf("--cert, --cert-key: %w", err)
		}
		options = append(options, websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{shown}}))
	}
	if l.ca != "" {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			return nil, err
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s holds no certificate", l.ca)
		}
		options = append(options, websocket.WithTLSClientConfig(&tls.Config{RootCAs: trusted}))
	}
	return options, nil
}

// parseListen refuses what no transport here listens on.
func (l *layers) parseListen(listen []string) ([]ma.Multiaddr, error) {
	addresses := make([]ma.Multiaddr, len(listen))
	for i, text := range listen {
		if strings.HasPrefix(text, "/unix/") {
			return nil, &unsupportedError{"listen " + text, "go-libp2p has no transport for unix sockets"}
		}
		address, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", text, err)
		}
		if !canListen.Matches(address) {
			return nil, &unsupportedError{"listen " + text, "this peer speaks TCP, WebSocket and QUIC over IP"}
		}
		if secureListen.Matches(address) && l.cert == "" {
			return nil, errors.New("listen " + text + " needs --cert and --cert-key")
		}
		addresses[i] = address
	}
	return addresses, nil
}
