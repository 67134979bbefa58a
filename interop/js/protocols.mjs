// The contract's protocols, served on a js-libp2p host.

import { createHash } from 'node:crypto'
import { blocks, drained, exchange, readToEnd, sendAll, update } from './streams.mjs'

export const PING = '/ipfs/ping/1.0.0'
export const ECHO = '/interop/echo/1.0.0'
export const DIGEST = '/interop/digest/1.0.0'
export const RESET = '/interop/reset/1.0.0'
export const PERF = '/perf/1.0.0'

export const MAX_STREAMS = 2000
const BLOCK = 256 * 1024
const LARGEST_WINDOW = 16 * 1024 * 1024

/** Stop reading while the stream takes no data, so that a slow reader holds its own sender back. */
async function holdBack (stream) {
  await null // resume() would undo a pause made inside the dispatch that it starts
  if (stream.readStatus === 'readable') stream.pause()
  await drained(stream)
  if (stream.readStatus === 'paused') stream.resume()
}

async function serveEcho (stream) {
  // A paused stream still receives what its window had granted, more than the default bound of 4 MiB.
  stream.maxReadBufferLength = LARGEST_WINDOW
  let held = false
  await readToEnd(stream, data => {
    if (stream.send(data) || held) return
    held = true
    holdBack(stream).then(() => { held = false }, error => stream.abort(error))
  })
  await stream.close()
}

async function serveDigest (stream) {
  const hash = createHash('sha256')
  await readToEnd(stream, data => update(hash, data))
  stream.send(hash.digest())
  await stream.close()
}

function serveReset (stream) {
  const reset = () => stream.abort(new Error('the reset protocol resets'))
  stream.addEventListener('message', reset, { once: true })
}

async function servePerf (stream) {
  const header = Buffer.alloc(8)
  let have = 0
  await readToEnd(stream, data => {
    if (have === 8) return
    const part = data.subarray(0, 8 - have)
    header.set(part, have)
    have += part.byteLength
  })
  if (have < 8) throw new Error(`perf header of ${have} bytes`)
  await sendAll(stream, blocks(Number(header.readBigUInt64BE()), BLOCK))
  await stream.close()
}

/** Serve every protocol of the contract on `node`. */
export async function serve (node) {
  const limits = { maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }
  await node.handle(ECHO, serveEcho, limits)
  await node.handle(DIGEST, serveDigest, limits)
  await node.handle(RESET, serveReset, limits)
  await node.handle(PERF, servePerf, limits)
}

const negotiated = new WeakMap() // connection -> promise that settles with its first stream

/** Open a stream; the first on a connection goes alone, for js-libp2p drops one with many early streams. */
export async function open (connection, protocol) {
  const first = negotiated.get(connection)
  if (first !== undefined) await first
  const opening = connection.newStream(protocol, { maxOutboundStreams: MAX_STREAMS })
  if (first === undefined) negotiated.set(connection, opening.catch(() => {}))
  return opening
}

/** Open a ping stream, wait for `count` echoes and close it; resolve with the round trips in microseconds. */
export async function ping (connection, count) {
  const stream = await open(connection, PING)
  const rounds = []
  for (let i = 0; i < count; i++) {
    const payload = crypto.getRandomValues(Buffer.alloc(32))
    const start = performance.now()
    const answer = await exchange(stream, payload)
    rounds.push(Math.round((performance.now() - start) * 1e4) / 10)
    if (!payload.equals(answer)) throw new Error('wrong ping answer')
  }
  await stream.close()
  return rounds
}
