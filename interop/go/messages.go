package main

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// messaging returns the publish/subscribe side, or an error when it is off.
func (p *program) messaging() (*messenger, error) {
	if p.messenger == nil {
		return nil, errors.New("started without --pubsub")
	}
	return p.messenger, nil
}

// topic returns the topic that c names.
func (p *program) topic(c command) (*joinedTopic, error) {
	m, err := p.messaging()
	if err != nil {
		return nil, err
	}
	return m.topic(c.Topic)
}

func (p *program) subscribe(_ context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	return answer{}, topic.subscribe()
}

func (p *program) unsubscribe(_ context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	topic.unsubscribe()
	return answer{}, nil
}

func (p *program) publish(ctx context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	var firstError any
	failed := 0
	start := time.Now()
	for number := c.Start; number < c.Start+c.Count; number++ {
		if number > c.Start {
			pause(ctx, c.IntervalMS)
		}
		err := topic.handle.Publish(ctx, messageData(p.messenger.self, number, c.Bytes))
		if err == nil {
			continue
		}
		if failed == 0 {
			firstError = oneLine(err)
		}
		failed++
	}
	return answer{
		"published": c.Count - failed, "failed": failed, "first_error": firstError,
		"seconds": time.Since(start).Seconds(),
	}, nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, milliseconds float64) {
	if milliseconds <= 0 {
		return
	}
	select {
	case <-time.After(time.Duration(milliseconds * float64(time.Millisecond))):
	case <-ctx.Done():
	}
}

func (p *program) waitReceived(ctx context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Seconds*float64(time.Second)))
	defer cancel()
	topic.tally.wait(ctx, c.Count)
	seconds := time.Since(start).Seconds()
	result := topic.tally.answer()
	result["seconds"] = seconds
	return result, nil
}

func (p *program) received(_ context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	return topic.tally.answer(), nil
}

func (p *program) topicPeers(_ context.Context, c command) (answer, error) {
	topic, err := p.topic(c)
	if err != nil {
		return nil, err
	}
	return answer{"peers": idTexts(topic.handle.ListPeers())}, nil
}

func (p *program) mesh(_ context.Context, c command) (answer, error) {
	m, err := p.messaging()
	if err != nil {
		return nil, err
	}
	if !m.hasMesh() {
		return answer{"peers": nil}, nil
	}
	return answer{"peers": idTexts(m.tracer.meshOf(c.Topic))}, nil
}

func (p *program) rpcCounts(_ context.Context, _ command) (answer, error) {
	m, err := p.messaging()
	if err != nil {
		return nil, err
	}
	received, sent := m.tracer.counts()
	return answer{"received": received, "sent": sent}, nil
}

func idTexts(ids []peer.ID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}
