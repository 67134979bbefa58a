package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
)

const (
	// pubsubQueue is the length of each queue that drops when it is full.
	pubsubQueue = 100_000
	// pubsubMaxRPC bounds what is read and what is sent. Other implementations answer IWANT with more than 1 MiB
	// in one RPC, and a longer one ends the stream; go-libp2p-pubsub does so as well, and some take no more than
	// 4 MiB.
	pubsubMaxRPC = 2 << 20
	// libraryDefault stands for an option that was not given.
	libraryDefault = -1
)

// pubsubOptions are the command line's; without a router there is no publish/subscribe.
type pubsubOptions struct {
	router, sign, queues   string
	backoffSeconds, degree int
}

func (o *pubsubOptions) define(flags *flag.FlagSet) {
	flags.StringVar(&o.router, "pubsub", "", "gossipsub or floodsub; off when empty")
	flags.StringVar(&o.sign, "pubsub-sign", "strict", "strict or none")
	flags.StringVar(&o.queues, "pubsub-queues", "long", "long or stock")
	flags.IntVar(&o.backoffSeconds, "pubsub-backoff", libraryDefault, "seconds of backoff after PRUNE and leaving")
	flags.IntVar(&o.degree, "pubsub-degree", libraryDefault, "D, D_low and D_high of the mesh")
}

// messenger is the publish/subscribe side of the program.
type messenger struct {
	service *pubsub.PubSub
	tracer  *rpcTracer
	options pubsubOptions
	self    string

	mu     sync.Mutex
	topics map[string]*joinedTopic
}

// newMessenger starts publish/subscribe on h until ctx ends; it returns nil when the options leave it off.
func newMessenger(ctx context.Context, h host.Host, o pubsubOptions) (*messenger, error) {
	if o.router == "" {
		return nil, nil
	}
	m := &messenger{
		tracer: newRPCTracer(), options: o, self: h.ID().String(), topics: make(map[string]*joinedTopic),
	}
	common, err := o.common()
	if err != nil {
		return nil, err
	}
	common = append(common, pubsub.WithRawTracer(m.tracer))
	switch o.router {
	case "gossipsub":
		m.service, err = newGossipSub(ctx, h, o, common)
	case "floodsub":
		m.service, err = newFloodSub(ctx, h, o, common)
	default:
		err = &unsupportedError{"pubsub " + o.router, "not a router of this peer"}
	}
	return m, err
}

// common returns the options that both routers take.
func (o pubsubOptions) common() ([]pubsub.Option, error) {
	options := []pubsub.Option{
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(pubsubMaxRPC),
		pubsub.WithMaxControlMessageSize(pubsubMaxRPC),
	}
	if !o.stockQueues() {
		options = append(options,
			pubsub.WithPeerOutboundQueueSize(pubsubQueue),
			pubsub.WithValidateQueueSize(pubsubQueue),
			pubsub.WithValidateThrottle(pubsubQueue),
		)
	}
	switch o.sign {
	case "strict":
		return append(options, pubsub.WithMessageSignaturePolicy(pubsub.StrictSign)), nil
	case "none":
		return append(options, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor()), nil
	}
	return nil, &unsupportedError{"pubsub-sign " + o.sign, "not a signature policy of this peer"}
}

// stockQueues tells whether all queues keep the lengths that the library gives them: 32 messages.
func (o pubsubOptions) stockQueues() bool { return o.queues == "stock" }

func newGossipSub(
	ctx context.Context, h host.Host, o pubsubOptions, common []pubsub.Option,
) (*pubsub.PubSub, error) {
	params := pubsub.DefaultGossipSubParams()
	params.HeartbeatInterval = time.Second
	if o.backoffSeconds != libraryDefault {
		if o.backoffSeconds < 1 {
			return nil, &unsupportedError{
				fmt.Sprintf("pubsub-backoff %d", o.backoffSeconds), "a peer reads a backoff of 0 as none given",
			}
		}
		params.PruneBackoff = time.Duration(o.backoffSeconds) * time.Second
		params.UnsubscribeBackoff = params.PruneBackoff
	}
	if o.degree != libraryDefault {
		if o.degree < 2 {
			return nil, &unsupportedError{
				fmt.Sprintf("pubsub-degree %d", o.degree), "go-libp2p-pubsub wants D_out < D / 2, in whole numbers",
			}
		}
		params.D, params.Dlo, params.Dhi, params.Dout = o.degree, o.degree, o.degree, 0
		params.Dscore = min(params.Dscore, o.degree)
	}
	return pubsub.NewGossipSub(ctx, h, append(common,
		pubsub.WithGossipSubParams(params),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(false),
	)...)
}

func newFloodSub(
	ctx context.Context, h host.Host, o pubsubOptions, common []pubsub.Option,
) (*pubsub.PubSub, error) {
	if o.backoffSeconds != libraryDefault || o.degree != libraryDefault {
		return nil, &unsupportedError{"pubsub-backoff and pubsub-degree", "floodsub has no mesh"}
	}
	return pubsub.NewFloodSub(ctx, h, common...)
}

// messageID is the SHA-256 of the data.
func messageID(message *pb.Message) string {
	sum := sha256.Sum256(message.GetData())
	return string(sum[:])
}

// hasMesh tells whether the router keeps a mesh.
func (m *messenger) hasMesh() bool { return m.options.router == "gossipsub" }

// topic returns the handle of a topic, joining it at the first call; that alone subscribes to nothing.
func (m *messenger) topic(name string) (*joinedTopic, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if joined, found := m.topics[name]; found {
		return joined, nil
	}
	handle, err := m.service.Join(name)
	if err != nil {
		return nil, err
	}
	joined := &joinedTopic{
		service: m.service, handle: handle, tally: newTally(m.self), stockQueue: m.options.stockQueues(),
	}
	m.topics[name] = joined
	return joined, nil
}

// joinedTopic is a topic that a command has named, with what was received of it.
type joinedTopic struct {
	service *pubsub.PubSub
	handle  *pubsub.Topic
	tally   *tally
	// stockQueue tells whether a subscription's queue has the library's length.
	stockQueue bool

	mu           sync.Mutex
	subscription *pubsub.Subscription // nil while not subscribed
	drained      chan struct{}        // closed when all that the subscription held is counted
}

// subscribe returns once the router has joined the topic and queued the announcement to every peer.
func (t *joinedTopic) subscribe() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subscription != nil {
		return nil
	}
	var options []pubsub.SubOpt
	if !t.stockQueue {
		options = append(options, pubsub.WithBufferSize(pubsubQueue))
	}
	subscription, err := t.handle.Subscribe(options...)
	if err != nil {
		return err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		t.tally.drain(subscription)
	}()
	t.subscription, t.drained = subscription, drained
	return nil
}

// unsubscribe returns once the router has left the topic and all that was delivered is counted.
func (t *joinedTopic) unsubscribe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subscription == nil {
		return
	}
	t.subscription.Cancel()
	<-t.drained
	// Cancel only hands the request over; the router's loop answers this after it has obeyed.
	t.service.GetTopics()
	t.subscription = nil
}
