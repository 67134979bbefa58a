// What a host speaks below its protocols: TCP, WebSocket and QUIC, one security protocol, one muxer.

import { readFileSync } from 'node:fs'
import { quic } from '@chainsafe/libp2p-quic'
import { mplex } from '@libp2p/mplex'
import { noise } from '@libp2p/noise'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { WebSocket } from 'ws'

/** The options of the command line, as parseArgs takes them. */
export const TRANSPORT_OPTIONS = {
  security: { type: 'string', default: 'noise' },
  muxer: { type: 'string', default: 'yamux' },
  cert: { type: 'string' },
  'cert-key': { type: 'string' },
  ca: { type: 'string' },
  psk: { type: 'string' }
}

const SECURITY = { noise, tls }
const MUXERS = ['yamux', 'mplex']
const SECURE_WEBSOCKET = /^\/ip[46]\/[^/]+\/tcp\/\d+\/(tls\/ws|wss)$/
const ADDRESSES = [
  SECURE_WEBSOCKET,
  /^\/ip[46]\/[^/]+\/tcp\/\d+(\/ws)?$/,
  /^\/ip[46]\/[^/]+\/udp\/\d+\/quic-v1$/,
  /^\/unix\/[^/]+$/
]

/** Return what of the options cannot be done, and why; undefined when all can. */
export function unsupportedTransport ({ security, muxer, listen }) {
  if (!Object.hasOwn(SECURITY, security)) return [`security ${security}`, 'not a security protocol of this peer']
  if (!MUXERS.includes(muxer)) return [`muxer ${muxer}`, 'not a muxer of this peer']
  const other = listen.find(address => !ADDRESSES.some(form => form.test(address)))
  const spoken = 'this peer speaks TCP, WebSocket and QUIC over IP, and unix sockets'
  if (other !== undefined) return [`listen ${other}`, spoken]
}

/** Make secure WebSocket dials trust the certificates in the file `ca`, for the whole process. */
export function trust (ca) {
  // @libp2p/websockets takes the global class, which Node 20 lacks and which cannot be told whom to trust.
  const options = ca === undefined ? {} : { ca: readFileSync(ca) }
  globalThis.WebSocket = class extends WebSocket {
    constructor (url) {
      super(url, [], options)
      // A frame in the segment of the handshake's answer would be dispatched before anything listens.
      this.once('open', () => {
        this.pause()
        setImmediate(() => this.resume())
      })
    }
  }
}

/**
 * Return the part of a libp2p configuration that says what a host speaks, of at most `limits` connections and streams.
 * Without `listen`, only what a dial of `dialed` needs: QUIC takes two sockets and a thread even when unused. With the
 * file `psk`, in the private network of its key, which QUIC would leave.
 */
export function layers ({ security, muxer, cert, 'cert-key': certKey, psk, listen }, dialed, limits) {
  if (listen.some(address => SECURE_WEBSOCKET.test(address)) && cert === undefined) {
    throw new Error('a secure WebSocket listener needs --cert and --cert-key')
  }
  const https = cert && { cert: readFileSync(cert), key: readFileSync(certKey) }
  const transports = [tcp({ backlog: limits.connections }), webSockets({ https })]
  if (psk === undefined && (dialed === undefined || dialed.includes('/quic-v1'))) {
    transports.push(quic({ maxConcurrentStreamLimit: limits.streams }))
  }
  const streamLimits = { maxInboundStreams: limits.streams, maxOutboundStreams: limits.streams }
  return {
    transports,
    connectionProtector: psk && preSharedKey({ psk: readFileSync(psk) }),
    connectionEncrypters: [SECURITY[security]()],
    streamMuxers: [muxer === 'mplex' ? mplex({ disconnectThreshold: limits.streams }) : yamux(streamLimits)]
  }
}
