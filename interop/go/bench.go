package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	msmux "github.com/multiformats/go-multistream"
	"golang.org/x/sync/errgroup"
)

const (
	benchEchoBytes = 32
	// parallelConnects is how many of the idle connections are being made at a time.
	parallelConnects = 8
)

func (p *program) benchDial(ctx context.Context, c command) (answer, error) {
	info, err := peer.AddrInfoFromString(c.Address)
	if err != nil {
		return nil, err
	}
	// The peer's own host may be connected already, and would dial nothing.
	dialers, err := newDialers(p.keyType, p.layers, c.Concurrency)
	defer closeAll(dialers)
	if err != nil {
		return nil, err
	}
	for _, dialer := range dialers {
		remember(dialer, *info)
	}
	start := time.Now()
	err = sideBySide(ctx, c.Count, c.Concurrency, func(ctx context.Context, worker int) error {
		return dialOnce(ctx, dialers[worker], info.ID)
	})
	return answer{"seconds": time.Since(start).Seconds()}, err
}

// dialOnce dials, pings once and closes. It uses the swarm, because host.Connect and host.NewStream would
// wait for identify too, which runs beside and is not what is timed.
func dialOnce(ctx context.Context, dialer host.Host, id peer.ID) error {
	conn, err := dialer.Network().DialPeer(ctx, id)
	if err != nil {
		return err
	}
	return errors.Join(pingOnce(ctx, conn), conn.Close())
}

func pingOnce(ctx context.Context, conn network.Conn) error {
	s, err := conn.NewStream(ctx)
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := s.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return err
	}
	sent := randomBytes(ping.PingSize)
	received := make([]byte, ping.PingSize)
	negotiated := msmux.NewMSSelect(s, ping.ID)
	if _, err := negotiated.Write(sent); err != nil {
		return err
	}
	if _, err := io.ReadFull(negotiated, received); err != nil {
		return err
	}
	if !bytes.Equal(sent, received) {
		return errors.New("the ping came back changed")
	}
	return nil
}

func (p *program) benchStreams(ctx context.Context, c command) (answer, error) {
	if _, err := p.connection(c); err != nil {
		return nil, err
	}
	payload := randomBytes(benchEchoBytes)
	start := time.Now()
	err := sideBySide(ctx, c.Count, c.Concurrency, func(ctx context.Context, _ int) error {
		return p.echoOnce(ctx, c.Peer, payload)
	})
	return answer{"seconds": time.Since(start).Seconds()}, err
}

// echoOnce does a small echo without a second goroutine: the payload fits in any window.
func (p *program) echoOnce(ctx context.Context, peerID string, payload []byte) error {
	s, err := p.open(ctx, peerID, echoProtocol)
	if err != nil {
		return err
	}
	if err := writeChunks(s, payload, len(payload)); err != nil {
		_ = s.Reset()
		return err
	}
	received, err := io.ReadAll(s)
	if err != nil {
		_ = s.Reset()
		return err
	}
	if !bytes.Equal(received, payload) {
		return fmt.Errorf("sent %d bytes, got %d others back", len(payload), len(received))
	}
	return s.Close()
}

func (p *program) idleConnections(ctx context.Context, c command) (answer, error) {
	info, err := peer.AddrInfoFromString(c.Address)
	if err != nil {
		return nil, err
	}
	hosts, err := newDialers(p.keyType, p.layers, c.Count)
	if err == nil {
		err = connectAll(ctx, hosts, *info)
	}
	if err != nil {
		closeAll(hosts)
		return nil, err
	}
	p.idleMu.Lock()
	p.idle = append(p.idle, hosts...)
	p.idleMu.Unlock()
	open := 0
	for _, h := range hosts {
		if h.Network().Connectedness(info.ID) == network.Connected {
			open++
		}
	}
	return answer{"open": open}, nil
}

func connectAll(ctx context.Context, hosts []host.Host, info peer.AddrInfo) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelConnects)
	for _, h := range hosts {
		group.Go(func() error { return h.Connect(ctx, info) })
	}
	return group.Wait()
}

// sideBySide calls work count times in all, from the given number of workers, and stops at the first error.
func sideBySide(ctx context.Context, count, workers int, work func(context.Context, int) error) error {
	turns := make(chan struct{}, count)
	for range count {
		turns <- struct{}{}
	}
	close(turns)
	group, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		group.Go(func() error {
			for range turns {
				if err := work(ctx, worker); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// newDialers makes count hosts that do not listen. On an error it returns those already made.
func newDialers(keyType string, layers layers, count int) ([]host.Host, error) {
	hosts := make([]host.Host, 0, count)
	for range count {
		h, err := newHost(keyType, layers, nil)
		if err != nil {
			return hosts, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func closeAll(hosts []host.Host) {
	for _, h := range hosts {
		_ = h.Close()
	}
}
