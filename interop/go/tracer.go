package main

import (
	"log"
	"maps"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// rpcCounts counts entries of RPCs; of IHAVE, IWANT and IDONTWANT the message ids.
type rpcCounts struct {
	Subscriptions int `json:"subscriptions"`
	Publish       int `json:"publish"`
	IHave         int `json:"ihave"`
	IWant         int `json:"iwant"`
	Graft         int `json:"graft"`
	Prune         int `json:"prune"`
	IDontWant     int `json:"idontwant"`
}

func (c *rpcCounts) add(rpc *pubsub.RPC) {
	control := rpc.GetControl()
	c.Subscriptions += len(rpc.GetSubscriptions())
	c.Publish += len(rpc.GetPublish())
	c.IHave += countIDs(control.GetIhave())
	c.IWant += countIDs(control.GetIwant())
	c.Graft += len(control.GetGraft())
	c.Prune += len(control.GetPrune())
	c.IDontWant += countIDs(control.GetIdontwant())
}

func countIDs[E interface{ GetMessageIDs() []string }](entries []E) int {
	total := 0
	for _, entry := range entries {
		total += len(entry.GetMessageIDs())
	}
	return total
}

// rpcTracer counts the RPCs, keeps a copy of the mesh, and logs what is dropped or refused.
type rpcTracer struct {
	mu             sync.Mutex
	received, sent rpcCounts
	mesh           map[string]map[peer.ID]struct{}
}

var _ pubsub.RawTracer = (*rpcTracer)(nil)

func newRPCTracer() *rpcTracer {
	return &rpcTracer{mesh: make(map[string]map[peer.ID]struct{})}
}

func (t *rpcTracer) counts() (received, sent rpcCounts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.received, t.sent
}

func (t *rpcTracer) meshOf(topic string) []peer.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.mesh[topic]))
}

// RecvRPC counts an RPC that arrived.
func (t *rpcTracer) RecvRPC(rpc *pubsub.RPC) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.received.add(rpc)
}

// SendRPCCompleted counts an RPC that was written. SendRPC would miss the first one on each stream.
func (t *rpcTracer) SendRPCCompleted(rpc *pubsub.RPC, _ peer.ID, _ time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent.add(rpc)
}

// Graft notes a new peer of the mesh.
func (t *rpcTracer) Graft(p peer.ID, topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mesh[topic] == nil {
		t.mesh[topic] = make(map[peer.ID]struct{})
	}
	t.mesh[topic][p] = struct{}{}
}

// Prune notes that a peer left the mesh.
func (t *rpcTracer) Prune(p peer.ID, topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mesh[topic], p)
}

// OnClosedOutboundStream notes that a peer is gone, which takes it out of every mesh without a Prune.
func (t *rpcTracer) OnClosedOutboundStream(p peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, members := range t.mesh {
		delete(members, p)
	}
}

// DropRPC logs an RPC that was not sent.
func (t *rpcTracer) DropRPC(_ *pubsub.RPC, p peer.ID) {
	log.Printf("pubsub: dropped an RPC to %s", p)
}

// RejectMessage logs a message that was refused, unless it is our own on its way back, which is no fault.
func (t *rpcTracer) RejectMessage(message *pubsub.Message, reason string) {
	if reason == pubsub.RejectSelfOrigin {
		return
	}
	log.Printf("pubsub: refused a message from %s: %s", message.ReceivedFrom, reason)
}

// UndeliverableMessage logs a message that the application was too slow for.
func (t *rpcTracer) UndeliverableMessage(message *pubsub.Message) {
	log.Printf("pubsub: dropped a message from %s: the subscription is full", message.ReceivedFrom)
}

// OnNewOutboundStream is of no interest here.
func (t *rpcTracer) OnNewOutboundStream(peer.ID, protocol.ID) {}

// Join is of no interest here.
func (t *rpcTracer) Join(string) {}

// Leave is of no interest here: a Prune for each peer follows.
func (t *rpcTracer) Leave(string) {}

// ValidateMessage is of no interest here.
func (t *rpcTracer) ValidateMessage(*pubsub.Message) {}

// DeliverMessage is of no interest here.
func (t *rpcTracer) DeliverMessage(*pubsub.Message) {}

// DuplicateMessage is of no interest here.
func (t *rpcTracer) DuplicateMessage(*pubsub.Message) {}

// ThrottlePeer is of no interest here.
func (t *rpcTracer) ThrottlePeer(peer.ID) {}

// SendRPC is of no interest here: what was only queued is not counted.
func (t *rpcTracer) SendRPC(*pubsub.RPC, peer.ID) {}
