package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strconv"
	"sync"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// tally counts what one topic delivered to the application.
type tally struct {
	self string

	mu      sync.Mutex
	seen    map[[sha256.Size]byte]struct{}
	counts  receivedCounts
	changed chan struct{} // closed at the next new message; nil while nothing waits
}

type receivedCounts struct {
	duplicates, malformed, wrongAuthor int
	authors                            map[string]int
}

func newTally(self string) *tally {
	return &tally{
		self: self, seen: make(map[[sha256.Size]byte]struct{}), counts: receivedCounts{authors: make(map[string]int)},
	}
}

// drain counts the messages of a subscription until it is cancelled and empty.
func (t *tally) drain(subscription *pubsub.Subscription) {
	for {
		message, err := subscription.Next(context.Background())
		if err != nil {
			return
		}
		t.record(message)
	}
}

func (t *tally) record(message *pubsub.Message) {
	data := message.GetData()
	publisher, wellFormed := publisherOf(data)
	if publisher == t.self {
		return
	}
	key := sha256.Sum256(data)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, again := t.seen[key]; again {
		t.counts.duplicates++
		return
	}
	t.seen[key] = struct{}{}
	switch {
	case !wellFormed:
		t.counts.malformed++
	case message.From != nil && message.GetFrom().String() != publisher:
		t.counts.wrongAuthor++
		fallthrough
	default:
		t.counts.authors[publisher]++
	}
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait returns when count different messages have been received, or when ctx ends.
func (t *tally) wait(ctx context.Context, count int) {
	for {
		changed := t.nextChange(count)
		if changed == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// nextChange returns what the next new message closes, or nil when there are count messages already.
func (t *tally) nextChange(count int) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seen) >= count {
		return nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

func (t *tally) answer() answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	authors := make(map[string]int, len(t.counts.authors))
	for author, count := range t.counts.authors {
		authors[author] = count
	}
	return answer{
		"total": len(t.seen), "duplicates": t.counts.duplicates, "malformed": t.counts.malformed,
		"wrong_author": t.counts.wrongAuthor, "authors": authors,
	}
}

// messageData is the data of message number n of a publisher, filled up to size bytes where it is shorter.
func messageData(publisher string, number, size int) []byte {
	data := make([]byte, 0, size)
	data = append(data, publisher...)
	data = append(data, ':')
	data = strconv.AppendInt(data, int64(number), 10)
	data = append(data, ':')
	return append(data, bytes.Repeat([]byte{'x'}, max(0, size-len(data)))...)
}

// publisherOf returns the peer id that the data names, and whether the data is what messageData makes.
func publisherOf(data []byte) (string, bool) {
	publisher, rest, found := bytes.Cut(data, []byte{':'})
	if !found {
		return "", false
	}
	number, filling, found := bytes.Cut(rest, []byte{':'})
	if !found || len(bytes.TrimLeft(filling, "x")) != 0 {
		return "", false
	}
	if _, err := strconv.ParseUint(string(number), 10, 63); err != nil {
		return "", false
	}
	if _, err := peer.Decode(string(publisher)); err != nil {
		return "", false
	}
	return string(publisher), true
}
