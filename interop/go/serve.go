package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	echoProtocol   protocol.ID = "/interop/echo/1.0.0"
	digestProtocol protocol.ID = "/interop/digest/1.0.0"
	resetProtocol  protocol.ID = "/interop/reset/1.0.0"
	perfProtocol   protocol.ID = "/perf/1.0.0"

	perfBlockBytes = 256 * 1024
)

// serve attaches the contract's protocols to h; identify and ping are the host's own.
func serve(h host.Host) {
	handlers := map[protocol.ID]func(network.Stream) error{
		echoProtocol:   serveEcho,
		digestProtocol: serveDigest,
		perfProtocol:   servePerf,
	}
	for id, handle := range handlers {
		h.SetStreamHandler(id, closing(handle))
	}
	h.SetStreamHandler(resetProtocol, serveReset)
}

// closing closes the stream after handle, or resets it when handle fails.
func closing(handle func(network.Stream) error) network.StreamHandler {
	return func(s network.Stream) {
		err := handle(s)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			log.Printf("%s from %s: %s", s.Protocol(), s.Conn().RemotePeer(), oneLine(err))
			_ = s.Reset()
		}
	}
}

// serveEcho sends every byte back as it arrives.
func serveEcho(s network.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// serveDigest answers the whole input with its SHA-256.
func serveDigest(s network.Stream) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, s); err != nil {
		return err
	}
	_, err := s.Write(hash.Sum(nil))
	return err
}

// serveReset resets the stream after one byte.
func serveReset(s network.Stream) {
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		log.Printf("reset: no first byte: %s", oneLine(err))
	}
	_ = s.Reset()
}

// servePerf reads the number of bytes wanted, drops the rest of the input, then sends that many bytes.
func servePerf(s network.Stream) error {
	var header [8]byte
	if _, err := io.ReadFull(s, header[:]); err != nil {
		return fmt.Errorf("reading the number of bytes wanted: %w", err)
	}
	block := make([]byte, perfBlockBytes)
	if _, err := drain(s, block); err != nil {
		return err
	}
	return writeTotal(s, block, binary.BigEndian.Uint64(header[:]))
}

// drain reads to the end of input through buffer and returns how many bytes came.
func drain(r io.Reader, buffer []byte) (uint64, error) {
	var total uint64
	for {
		n, err := r.Read(buffer)
		total += uint64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// writeTotal writes total bytes, block after block.
func writeTotal(w io.Writer, block []byte, total uint64) error {
	for total > 0 {
		n, err := w.Write(block[:min(uint64(len(block)), total)])
		if err != nil {
			return err
		}
		total -= uint64(n)
	}
	return nil
}
