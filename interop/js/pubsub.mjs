// Makes the publish/subscribe service of a host: gossipsub or floodsub, nothing punished, every RPC counted.

import { createHash } from 'node:crypto'
import { floodsub } from '@libp2p/floodsub'
import { gossipsub } from '@libp2p/gossipsub'

const POLICIES = { strict: 'StrictSign', none: 'StrictNoSign' }
const LARGEST_RPC = 64 * 1024 * 1024 // an IWANT is answered by one RPC with all it asked for
const SEEN_MILLISECONDS = 120_000
const ENTRIES = ['subscriptions', 'publish', 'ihave', 'iwant', 'graft', 'prune', 'idontwant']

/** The options of the command line, for parseArgs. */
export const PUBSUB_OPTIONS = {
  pubsub: { type: 'string' },
  'pubsub-sign': { type: 'string', default: 'strict' },
  'pubsub-backoff': { type: 'string' },
  'pubsub-degree': { type: 'string' },
  'pubsub-queues': { type: 'string', default: 'long' } // there are none whose length could be set
}

/** Say what of the options cannot be had, as `[what, reason]`; undefined when all can. */
export function unsupportedPubsub (values) {
  const { pubsub: router, 'pubsub-sign': sign } = values
  if (router === undefined) return
  if (!Object.hasOwn(ROUTERS, router)) return [`pubsub ${router}`, 'this peer has gossipsub and floodsub']
  if (!Object.hasOwn(POLICIES, sign)) return [`pubsub-sign ${sign}`, 'this peer has strict and none']
  for (const name of ['pubsub-backoff', 'pubsub-degree']) {
    const value = values[name]
    if (value === undefined) continue
    if (router === 'floodsub') return [`${name} ${value}`, 'floodsub has no mesh']
    if (!(Number(value) > 0)) return [`${name} ${value}`, 'not a number above 0']
  }
  if (router === 'floodsub' && sign === 'none') {
    return ['pubsub floodsub without signatures', "js-libp2p's floodsub drops every message that lacks `from`"]
  }
}

/** Return the services that the options ask for, for createLibp2p. */
export function pubsubServices ({ pubsub: router, ...values }) {
  if (router === undefined) return {}
  const policy = { globalSignaturePolicy: POLICIES[values['pubsub-sign']], emitSelf: false, seenTTL: SEEN_MILLISECONDS }
  return { pubsub: ROUTERS[router](policy, values['pubsub-backoff'], values['pubsub-degree']) }
}

const ROUTERS = { gossipsub: makeGossipsub, floodsub: makeFloodsub }
const dataId = ({ data }) => createHash('sha256').update(data).digest()

function makeGossipsub (policy, backoff, degree) {
  const init = {
    ...policy,
    msgIdFn: dataId,
    fallbackToFloodsub: true,
    floodPublish: true,
    allowPublishToZeroTopicPeers: true,
    doPX: false,
    heartbeatInterval: 1000,
    maxInboundDataLength: LARGEST_RPC,
    // Without weights every score is 0; by default the eleventh peer on one address is punished.
    scoreParams: { topics: {}, appSpecificWeight: 0, IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0 },
    scoreThresholds: { opportunisticGraftThreshold: 0 },
    ...backoffOf(backoff),
    ...degreeOf(degree)
  }
  return components => counting(gossipsub(init)(components), 'handleReceivedRpc')
}

function backoffOf (seconds) {
  if (seconds === undefined) return {}
  const milliseconds = Number(seconds) * 1000
  // A GRAFT that comes earlier than this after a PRUNE counts twice; with no weight it counts nothing.
  return { pruneBackoff: milliseconds, unsubcribeBackoff: milliseconds, graftFloodThreshold: milliseconds }
}

function degreeOf (value) {
  if (value === undefined) return {}
  const D = Number(value)
  return { D, Dlo: D, Dhi: D, Dscore: Math.min(D, 4), Dout: 0 }
}

function makeFloodsub (policy) {
  const init = { ...policy, maxInboundStreams: 8, maxOutboundStreams: 8 }
  return components => {
    const service = floodsub(init)(components)
    service.getMsgId = dataId // made to be overridden; the default is the author's key and the sequence number
    return counting(service, 'processRpc')
  }
}

/** Count what the service receives, in its method `receive`, and what it sends; the result is in `rpcCounts`. */
function counting (service, receive) {
  const zeros = () => Object.fromEntries(ENTRIES.map(name => [name, 0]))
  const counts = { received: zeros(), sent: zeros() }
  const handle = service[receive].bind(service)
  const sendOne = service.sendRpc.bind(service)
  const sendToAll = service.sendRpcInBatch?.bind(service)
  service[receive] = (from, rpc) => {
    add(counts.received, rpc)
    return handle(from, rpc)
  }
  service.sendRpc = (peer, rpc) => {
    const sent = sendOne(peer, rpc) // which may add to the RPC
    if (sent !== false) add(counts.sent, rpc)
    return sent
  }
  if (sendToAll !== undefined) {
    service.sendRpcInBatch = (peers, rpc) => {
      sendToAll(peers, rpc) // which removes those it could not send to
      add(counts.sent, rpc, peers.size)
    }
  }
  return Object.assign(service, { rpcCounts: counts })
}

function add (counts, { subscriptions = [], messages = [], control = {} }, times = 1) {
  const { ihave = [], iwant = [], graft = [], prune = [], idontwant = [] } = control
  const ids = entries => entries.reduce((sum, { messageIDs }) => sum + (messageIDs?.length ?? 0), 0)
  const found = [
    subscriptions.length, messages.length, ids(ihave), ids(iwant), graft.length, prune.length, ids(idontwant)
  ]
  ENTRIES.forEach((name, index) => { counts[name] += found[index] * times })
}
