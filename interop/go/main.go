// Command peerstack-interop is the go-libp2p peer of the interop matrix: it serves the interop protocols and
// obeys the JSON-lines commands of ../CONTRACT.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
)

const (
	modulePath      = "github.com/libp2p/go-libp2p"
	exitUnsupported = 3
)

// unsupportedError names something that go-libp2p, as configured here, cannot do.
type unsupportedError struct{ what, reason string }

func (e *unsupportedError) Error() string { return e.what + ": " + e.reason }

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	keyType := flag.String("key-type", "ed25519", "ed25519, secp256k1, ecdsa or rsa")
	var listen []string
	flag.Func("listen", "multiaddr to listen on; may be repeated", func(address string) error {
		listen = append(listen, address)
		return nil
	})
	var messaging pubsubOptions
	messaging.define(flag.CommandLine)
	var carried layers
	carried.define(flag.CommandLine)
	flag.Parse()

	out := newLineWriter(os.Stdout)
	if err := run(*keyType, carried, listen, messaging, out); err != nil {
		var unsupported *unsupportedError
		if errors.As(err, &unsupported) {
			out.write(map[string]any{
				"event": "unsupported", "what": unsupported.what, "reason": unsupported.reason,
			})
			os.Exit(exitUnsupported)
		}
		log.Fatal(err)
	}
}

// run serves until standard input ends or the command exit arrives.
func run(keyType string, layers layers, listen []string, messaging pubsubOptions, out *lineWriter) error {
	h, err := newHost(keyType, layers, listen)
	if err != nil {
		return err
	}
	defer h.Close()
	if got := len(h.Network().ListenAddresses()); got != len(listen) {
		return fmt.Errorf("listening on %d of %d addresses", got, len(listen))
	}
	serve(h)
	book, err := newIdentifyBook(h)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	messenger, err := newMessenger(ctx, h, messaging)
	if err != nil {
		return err
	}
	if err := announce(h, out); err != nil {
		return err
	}
	p := &program{host: h, keyType: keyType, layers: layers, book: book, out: out, messenger: messenger}
	return p.obey(os.Stdin)
}

// announce prints the line that tells the runner where to dial.
func announce(h host.Host, out *lineWriter) error {
	bound, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		return err
	}
	addresses := make([]string, len(bound))
	for i, address := range bound {
		addresses[i] = fmt.Sprintf("%s/p2p/%s", address, h.ID())
	}
	out.write(map[string]any{
		"event": "listening", "implementation": "go-libp2p", "version": libraryVersion(),
		"peer_id": h.ID().String(), "addresses": addresses,
	})
	return nil
}

// libraryVersion is the go-libp2p version that was linked in.
func libraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == modulePath {
			return dependency.Version
		}
	}
	return "unknown"
}

// oneLine flattens an error, because dial errors list one address a line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
