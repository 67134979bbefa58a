// The contract's commands on one connection, one function each.

import { createHash, randomBytes } from 'node:crypto'
import { connect, connectionTo, disconnect, identifyResult } from './host.mjs'
import { DIGEST, ECHO, PERF, RESET, open, ping } from './protocols.mjs'
import { blocks, exchange, readToEnd, sendAll, update } from './streams.mjs'

const seconds = since => (performance.now() - since) / 1000

/** Yield `bytes` random bytes in chunks and put them into `hash`. */
function * randomChunks (bytes, chunk, hash) {
  for (let left = bytes; left > 0; left -= chunk) {
    const block = randomBytes(Math.min(left, chunk))
    hash.update(block)
    yield block
  }
}

async function sendAndClose (stream, chunks) {
  await sendAll(stream, chunks)
  await stream.close()
}

async function identify (node, { peer }) {
  const said = await identifyResult(node, connectionTo(node, peer))
  return {
    agent: said.agentVersion ?? null,
    protocol_version: said.protocolVersion ?? null,
    protocols: said.protocols,
    listen_addresses: said.listenAddrs.map(String),
    observed_address: said.observedAddr?.toString() ?? null,
    signed_record: said.signedPeerRecord !== undefined
  }
}

async function echo (node, { peer, bytes, chunk }) {
  const stream = await open(connectionTo(node, peer), ECHO)
  const sent = createHash('sha256')
  const received = createHash('sha256')
  let count = 0
  const start = performance.now()
  await Promise.all([
    readToEnd(stream, data => { update(received, data); count += data.byteLength }),
    sendAndClose(stream, randomChunks(bytes, chunk, sent))
  ])
  const took = seconds(start)
  if (count !== bytes) throw new Error(`${count} of ${bytes} bytes came back`)
  return { bytes, sha256_sent: sent.digest('hex'), sha256_received: received.digest('hex'), seconds: took }
}

async function streams (node, { peer, count, bytes }) {
  const connection = connectionTo(node, peer)
  const all = await Promise.all(Array.from({ length: count }, () => open(connection, ECHO)))
  const outcomes = await Promise.allSettled(all.map(async stream => {
    const payload = randomBytes(bytes)
    const answer = await exchange(stream, payload)
    await stream.close()
    return payload.equals(answer)
  }))
  return { completed: outcomes.filter(({ value }) => value === true).length }
}

async function digest (node, { peer, bytes }) {
  const stream = await open(connectionTo(node, peer), DIGEST)
  const hash = createHash('sha256')
  const answer = []
  await Promise.all([
    readToEnd(stream, data => answer.push(data.subarray())),
    sendAndClose(stream, randomChunks(bytes, 65536, hash))
  ])
  return { sha256_sent: hash.digest('hex'), sha256_remote: Buffer.concat(answer).toString('hex') }
}

async function reset (node, { peer }) {
  const stream = await open(connectionTo(node, peer), RESET)
  let outcome = 'eof'
  const reading = readToEnd(stream, () => { outcome = 'data' })
  stream.send(new Uint8Array(1))
  await reading.catch(error => {
    if (stream.status !== 'reset') throw error
    outcome = 'reset'
  })
  return { outcome }
}

async function perf (node, { peer, upload, download, chunk }) {
  const stream = await open(connectionTo(node, peer), PERF)
  const header = Buffer.alloc(8)
  header.writeBigUInt64BE(BigInt(download))
  let received = 0
  let answered
  const send = async () => {
    stream.send(header)
    await sendAndClose(stream, blocks(upload, chunk))
  }
  const start = performance.now()
  await Promise.all([
    readToEnd(stream, data => {
      answered ??= performance.now()
      received += data.byteLength
    }),
    send()
  ])
  const end = performance.now()
  answered ??= end
  if (received !== download) throw new Error(`${received} of ${download} bytes came`)
  return { upload_seconds: (answered - start) / 1000, download_seconds: (end - answered) / 1000 }
}

/** Every command by its name: a function of the host and the command, whose result is the answer. */
export const commands = {
  connect: async (node, { address }) => ({ peer_id: (await connect(node, address)).remotePeer.toString() }),
  disconnect: async (node, { peer }) => { await disconnect(node, peer) },
  ping: async (node, { peer, count }) => ({ rtt_us: await ping(connectionTo(node, peer), count) }),
  identify,
  echo,
  streams,
  digest,
  reset,
  perf
}
