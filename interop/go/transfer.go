package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	msmux "github.com/multiformats/go-multistream"
	"golang.org/x/sync/errgroup"
)

// maxEarlyStreams is how many streams may wait for their first answer together.
const maxEarlyStreams = 8

func (p *program) echo(ctx context.Context, c command) (answer, error) {
	payload := randomBytes(c.Bytes)
	s, err := p.open(ctx, c.Peer, echoProtocol)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	received, err := exchange(s, payload, c.Chunk)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	return answer{
		"bytes": len(received), "seconds": seconds,
		"sha256_sent": hexDigest(payload), "sha256_received": hexDigest(received),
	}, nil
}

func (p *program) streams(ctx context.Context, c command) (answer, error) {
	conn, err := p.connection(c)
	if err != nil {
		return nil, err
	}
	opened, err := openTogether(ctx, conn, c.Count)
	if err != nil {
		return nil, err
	}
	payload := randomBytes(c.Bytes)
	var completed atomic.Int64
	var group errgroup.Group
	for _, s := range opened {
		group.Go(func() error {
			received, err := exchange(s, payload, c.Chunk)
			if err == nil && bytes.Equal(received, payload) {
				completed.Add(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		log.Printf("streams: the first failure: %s", oneLine(err))
	}
	return answer{"completed": completed.Load()}, nil
}

// openTogether opens count echo streams and returns when all are open at once. Each waits for the peer to
// agree on the protocol, which host.NewStream would leave for later.
func openTogether(ctx context.Context, conn network.Conn, count int) ([]network.Stream, error) {
	opened := make([]network.Stream, count)
	var group errgroup.Group
	group.SetLimit(maxEarlyStreams)
	for i := range opened {
		group.Go(func() (err error) {
			opened[i], err = openNegotiated(ctx, conn, echoProtocol)
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		return opened, nil
	}
	for _, s := range opened {
		if s != nil {
			_ = s.Reset()
		}
	}
	return nil, err
}

func openNegotiated(ctx context.Context, conn network.Conn, id protocol.ID) (network.Stream, error) {
	s, err := conn.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.SetDeadline(time.Now().Add(commandTimeout)), s.SetProtocol(id))
	if err == nil {
		err = msmux.SelectProtoOrFail(id, s)
	}
	if err != nil {
		_ = s.Reset()
		return nil, err
	}
	return s, nil
}

func (p *program) digest(ctx context.Context, c command) (answer, error) {
	payload := randomBytes(c.Bytes)
	s, err := p.open(ctx, c.Peer, digestProtocol)
	if err != nil {
		return nil, err
	}
	remote, err := exchange(s, payload, c.Chunk)
	if err != nil {
		return nil, err
	}
	if len(remote) != sha256.Size {
		return nil, fmt.Errorf("the digest has %d bytes", len(remote))
	}
	return answer{"sha256_sent": hexDigest(payload), "sha256_remote": hex.EncodeToString(remote)}, nil
}

func (p *program) reset(ctx context.Context, c command) (answer, error) {
	s, err := p.open(ctx, c.Peer, resetProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if _, err := s.Write([]byte{1}); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(s, make([]byte, 1))
	switch {
	case err == nil:
		return answer{"outcome": "data"}, nil
	case err == io.EOF:
		return answer{"outcome": "eof"}, nil
	case errors.Is(err, network.ErrReset):
		return answer{"outcome": "reset"}, nil
	}
	return nil, err
}

func (p *program) perf(ctx context.Context, c command) (answer, error) {
	s, err := p.open(ctx, c.Peer, perfProtocol)
	if err != nil {
		return nil, err
	}
	block := randomBytes(c.Chunk)
	start := time.Now()
	if err := sendPerf(s, block, c.Upload, c.Download); err != nil {
		_ = s.Reset()
		return nil, err
	}
	first, err := s.Read(block)
	turned := time.Now()
	got := uint64(first)
	if err == nil {
		var rest uint64
		rest, err = drain(s, block)
		got += rest
	}
	if err != nil && err != io.EOF {
		_ = s.Reset()
		return nil, err
	}
	download := time.Since(turned).Seconds()
	if got != c.Download {
		return nil, fmt.Errorf("asked for %d bytes, got %d", c.Download, got)
	}
	return answer{
		"upload_seconds": turned.Sub(start).Seconds(), "download_seconds": download,
	}, s.Close()
}

func sendPerf(s network.Stream, block []byte, upload, download uint64) error {
	if _, err := s.Write(binary.BigEndian.AppendUint64(nil, download)); err != nil {
		return err
	}
	if err := writeTotal(s, block, upload); err != nil {
		return err
	}
	return s.CloseWrite()
}

// open opens a stream to a connected peer the way an application does; go-libp2p then sends the protocol name
// with the first bytes written, once identify has said that the peer supports it.
func (p *program) open(ctx context.Context, peerID string, protocolID protocol.ID) (network.Stream, error) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return nil, err
	}
	s, err := p.host.NewStream(network.WithNoDial(ctx, "the runner connects"), id, protocolID)
	if err != nil {
		return nil, err
	}
	if err := s.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		_ = s.Reset()
		return nil, err
	}
	return s, nil
}

// exchange writes payload and half-closes, while it reads to the end of the answer, and closes the stream.
// An answer longer than both the payload and a digest is an error.
func exchange(s network.Stream, payload []byte, chunk int) ([]byte, error) {
	limit := max(len(payload), sha256.Size) + 1
	var received bytes.Buffer
	received.Grow(limit + bytes.MinRead)
	var writer errgroup.Group
	writer.Go(func() error {
		err := writeChunks(s, payload, chunk)
		if err != nil {
			_ = s.Reset()
		}
		return err
	})
	_, readErr := received.ReadFrom(io.LimitReader(s, int64(limit)))
	if readErr == nil && received.Len() == limit {
		readErr = fmt.Errorf("the answer is longer than %d bytes", limit-1)
	}
	if readErr != nil {
		_ = s.Reset()
	}
	if err := errors.Join(readErr, writer.Wait()); err != nil {
		return nil, err
	}
	return received.Bytes(), s.Close()
}

func writeChunks(s network.Stream, payload []byte, chunk int) error {
	for len(payload) > 0 {
		n, err := s.Write(payload[:min(chunk, len(payload))])
		if err != nil {
			return err
		}
		payload = payload[n:]
	}
	return s.CloseWrite()
}

func randomBytes(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // crypto/rand.Read never fails
	return out
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
