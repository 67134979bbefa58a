package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
)

const (
	commandTimeout = 5 * time.Minute
	maxLineBytes   = 1 << 20
	maxPayload     = 1 << 30
)

// command is one line of standard input; each operation uses the fields it needs.
type command struct {
	ID          json.RawMessage `json:"id"`
	Op          string          `json:"op"`
	Address     string          `json:"address"`
	Peer        string          `json:"peer"`
	Count       int             `json:"count"`
	Concurrency int             `json:"concurrency"`
	Bytes       int             `json:"bytes"`
	Chunk       int             `json:"chunk"`
	Upload      uint64          `json:"upload"`
	Download    uint64          `json:"download"`
	Topic       string          `json:"topic"`
	Start       int             `json:"start"`
	IntervalMS  float64         `json:"interval_ms"`
	Seconds     float64         `json:"seconds"`
}

// answer holds the fields of a successful answer.
type answer map[string]any

type operation func(*program, context.Context, command) (answer, error)

var operations = map[string]operation{
	"connect":          (*program).connect,
	"disconnect":       (*program).disconnect,
	"identify":         (*program).identify,
	"ping":             (*program).ping,
	"echo":             (*program).echo,
	"streams":          (*program).streams,
	"digest":           (*program).digest,
	"reset":            (*program).reset,
	"perf":             (*program).perf,
	"bench_dial":       (*program).benchDial,
	"bench_streams":    (*program).benchStreams,
	"idle_connections": (*program).idleConnections,
	"subscribe":        (*program).subscribe,
	"unsubscribe":      (*program).unsubscribe,
	"publish":          (*program).publish,
	"wait_received":    (*program).waitReceived,
	"received":         (*program).received,
	"topic_peers":      (*program).topicPeers,
	"mesh":             (*program).mesh,
	"rpc_counts":       (*program).rpcCounts,
}

// program is the running peer.
type program struct {
	host    host.Host
	keyType string
	layers  layers
	book    *identifyBook
	out     *lineWriter
	// messenger is nil without --pubsub.
	messenger *messenger

	idleMu sync.Mutex
	idle   []host.Host // hosts whose connections are held until the process ends
}

// obey runs the commands of in, each in a goroutine of its own, until in ends or says exit.
func (p *program) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		// After a field of the wrong type the decoder goes on, so the id is known even then.
		c := command{Count: 1, Concurrency: 1, Chunk: 64 * 1024}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			p.reply(c.ID, nil, fmt.Errorf("reading the command: %w", err))
			continue
		}
		if c.Op == "exit" {
			p.reply(c.ID, answer{}, nil)
			return nil
		}
		go func() {
			result, err := p.execute(c)
			p.reply(c.ID, result, err)
		}()
	}
	return lines.Err()
}

func (p *program) execute(c command) (answer, error) {
	run, known := operations[c.Op]
	if !known {
		return nil, fmt.Errorf("unknown op %q", c.Op)
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return run(p, ctx, c)
}

func (c command) validate() error {
	if c.Count < 1 || c.Concurrency < 1 || c.Chunk < 1 {
		return errors.New("count, concurrency and chunk must be positive")
	}
	if c.Bytes < 0 || c.Bytes > maxPayload || c.Chunk > maxPayload {
		return fmt.Errorf("bytes and chunk must be at most %d", maxPayload)
	}
	return nil
}

func (p *program) reply(id json.RawMessage, result answer, err error) {
	line := map[string]any{"id": id, "ok": err == nil}
	if err != nil {
		line["error"] = oneLine(err)
	} else {
		maps.Copy(line, result)
	}
	p.out.write(line)
}

// lineWriter writes JSON objects, one a line, from any goroutine.
type lineWriter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newLineWriter(w io.Writer) *lineWriter {
	return &lineWriter{encoder: json.NewEncoder(w)}
}

func (w *lineWriter) write(line map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.encoder.Encode(line); err != nil {
		log.Printf("writing an answer: %s", oneLine(err))
	}
}
