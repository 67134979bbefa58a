package main

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

func (p *program) connect(ctx context.Context, c command) (answer, error) {
	info, err := peer.AddrInfoFromString(c.Address)
	if err != nil {
		return nil, err
	}
	if p.host.Network().Connectedness(info.ID) != network.Connected {
		forgetDials(p.host, info.ID)
	}
	if err := p.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	return answer{"peer_id": info.ID.String()}, nil
}

// forgetDials drops the known addresses of a peer and its dial backoff, so that the next dial is to the
// address given, and now.
func forgetDials(h host.Host, id peer.ID) {
	h.Peerstore().ClearAddrs(id)
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
}

func (p *program) disconnect(_ context.Context, c command) (answer, error) {
	id, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	return answer{}, p.host.Network().ClosePeer(id)
}

func (p *program) ping(ctx context.Context, c command) (answer, error) {
	id, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(network.WithNoDial(ctx, "ping"))
	defer cancel()
	results := ping.Ping(ctx, p.host, id)
	rtts := make([]float64, c.Count)
	for i := range rtts {
		result, open := <-results
		if !open {
			return nil, fmt.Errorf("ping ended after %d answers: %w", i, ctx.Err())
		}
		if result.Error != nil {
			return nil, result.Error
		}
		rtts[i] = float64(result.RTT.Nanoseconds()) / 1e3
	}
	return answer{"rtt_us": rtts}, nil
}

// connection returns an open connection to the peer that c names.
func (p *program) connection(c command) (network.Conn, error) {
	id, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	conns := p.host.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return nil, fmt.Errorf("not connected to %s", id)
	}
	return conns[0], nil
}

// remember stores an address for dials by the swarm, whatever happens on the connection.
func remember(h host.Host, info peer.AddrInfo) {
	h.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
}
