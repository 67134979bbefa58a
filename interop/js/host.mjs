// Makes js-libp2p hosts with identify and ping, with limits wide enough for the benchmarks.

import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { MAX_STREAMS } from './protocols.mjs'
import { layers } from './transports.mjs'

/** The contract's key types, as js-libp2p calls them; it has ECDSA keys, but no peer id for one. */
export const KEY_TYPES = { ed25519: 'Ed25519', secp256k1: 'secp256k1', rsa: 'RSA' }

const MAX_CONNECTIONS = 2000
const IDENTIFY_TIMEOUT = 10_000
const streamLimits = { maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }
const identified = new WeakMap() // connection -> what identify and later pushes said
const spoken = new WeakMap() // host -> the options that it was made with

/** Make a started host that does not listen, speaks what `node` does, and can dial `address`. */
export function makeDialer (node, address) {
  return makeHost('ed25519', { ...spoken.get(node), listen: [] }, {}, address)
}

/**
 * Make a started host with a fresh key, as the options of the command line say, with `services` beside identify and
 * ping; one that dials only addresses like `dialed`, if that is given.
 */
export async function makeHost (keyType, options, services, dialed) {
  const node = await createLibp2p({
    privateKey: await generateKeyPair(KEY_TYPES[keyType], keyType === 'rsa' ? 2048 : undefined),
    addresses: { listen: options.listen },
    ...layers(options, dialed, { connections: MAX_CONNECTIONS, streams: MAX_STREAMS }),
    services: { identify: identify(), identifyPush: identifyPush(), ping: ping(streamLimits), ...services },
    connectionMonitor: { enabled: false }, // it pings every connection every ten seconds
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxIncomingPendingConnections: MAX_CONNECTIONS,
      inboundConnectionThreshold: 1_000_000 // a second and address; the default of 5 would refuse loopback
    }
  })
  spoken.set(node, options)
  node.addEventListener('peer:identify', ({ detail }) => {
    const known = Object.entries(detail).filter(([, value]) => value !== undefined)
    identified.set(detail.connection, { ...identified.get(detail.connection), ...Object.fromEntries(known) })
  })
  return node
}

/** Dial an address; reject unless the peer there proves the identity that the address names. */
export async function connect (node, address, options) {
  const target = multiaddr(address)
  const expected = target.getComponents().findLast(({ name }) => name === 'p2p')?.value
  const connection = await node.dial(target, options)
  const proved = connection.remotePeer.toString()
  // Noise compares keys, and an id that is a hash (RSA) holds none: js-libp2p then takes any peer that answers.
  if (expected !== undefined && proved !== expected) {
    await close(connection)
    throw new Error(`js-libp2p accepted ${proved} in place of ${expected}`)
  }
  return connection
}

/** Return an open connection to the peer. */
export function connectionTo (node, peer) {
  const connection = node.getConnections(peerIdFromString(peer)).find(({ status }) => status === 'open')
  if (connection === undefined) throw new Error(`not connected to ${peer}`)
  return connection
}

/** Close a connection, by force when it does not close cleanly. */
export async function close (connection) {
  await connection.close().catch(error => connection.abort(error))
}

/** Close every connection to the peer. */
export async function disconnect (node, peer) {
  await node.hangUp(peerIdFromString(peer))
}

/** Resolve with js-libp2p's identify result for a connection, once there is one. */
export function identifyResult (node, connection) {
  const known = identified.get(connection)
  if (known !== undefined) return known
  return new Promise((resolve, reject) => {
    const settle = (action, value) => {
      clearTimeout(timer)
      node.removeEventListener('peer:identify', onIdentify)
      connection.removeEventListener('close', onClose)
      action(value)
    }
    const onIdentify = ({ detail }) => {
      if (detail.connection === connection) settle(resolve, identified.get(connection))
    }
    const onClose = () => settle(reject, new Error('connection closed before identify finished'))
    const timer = setTimeout(() => settle(reject, new Error('identify timed out')), IDENTIFY_TIMEOUT)
    node.addEventListener('peer:identify', onIdentify)
    connection.addEventListener('close', onClose)
  })
}
