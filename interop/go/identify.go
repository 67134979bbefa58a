package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	identifyEventBuffer = 256
	// identifyEventWait bounds the wait for an event that was already emitted when identify ended.
	identifyEventWait = 2 * time.Second
)

type identified = event.EvtPeerIdentificationCompleted

// identifyBook keeps what each connected peer last said of itself. The peerstore does not keep the observed
// address or the signed record, so they are taken from the events.
type identifyBook struct {
	service identify.IDService

	mu      sync.Mutex
	entries map[network.Conn]identified
	changed chan struct{} // closed, and replaced, at every new entry
}

func newIdentifyBook(h host.Host) (*identifyBook, error) {
	provider, ok := h.(interface{ IDService() identify.IDService })
	if !ok {
		return nil, errors.New("the host has no identify service")
	}
	events, err := h.EventBus().Subscribe(
		new(identified), eventbus.BufSize(identifyEventBuffer))
	if err != nil {
		return nil, err
	}
	book := &identifyBook{
		service: provider.IDService(),
		entries: make(map[network.Conn]identified),
		changed: make(chan struct{}),
	}
	h.Network().Notify(&network.NotifyBundle{DisconnectedF: book.forget})
	go func() {
		for e := range events.Out() {
			book.record(e.(identified))
		}
	}()
	return book, nil
}

func (b *identifyBook) record(e identified) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Conn.IsClosed() { // forget has run, or is about to
		return
	}
	b.entries[e.Conn] = e
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *identifyBook) forget(_ network.Network, conn network.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, conn)
}

// wait returns what the peer of conn said, once identify has finished there.
func (b *identifyBook) wait(ctx context.Context, conn network.Conn) (identified, error) {
	select {
	case <-b.service.IdentifyWait(conn):
	case <-ctx.Done():
		return identified{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, identifyEventWait)
	defer cancel()
	for {
		b.mu.Lock()
		entry, found := b.entries[conn]
		changed := b.changed
		b.mu.Unlock()
		if found {
			return entry, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return entry, fmt.Errorf("identify with %s failed", conn.RemotePeer())
		}
	}
}

func (p *program) identify(ctx context.Context, c command) (answer, error) {
	conn, err := p.connection(c)
	if err != nil {
		return nil, err
	}
	said, err := p.book.wait(ctx, conn)
	if err != nil {
		return nil, err
	}
	return answer{
		"agent":            said.AgentVersion,
		"protocol_version": said.ProtocolVersion,
		"protocols":        said.Protocols,
		"listen_addresses": texts(said.ListenAddrs),
		"observed_address": textOrNull(said.ObservedAddr),
		"signed_record":    said.SignedPeerRecord != nil,
	}, nil
}

func texts(addresses []ma.Multiaddr) []string {
	out := make([]string, len(addresses))
	for i, address := range addresses {
		out[i] = address.String()
	}
	return out
}

func textOrNull(address ma.Multiaddr) any {
	if address == nil {
		return nil
	}
	return address.String()
}
