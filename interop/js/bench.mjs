// The contract's benchmark commands: dials, streams and idle connections in number.

import { close, connect, connectionTo, makeDialer } from './host.mjs'
import { ECHO, open, ping } from './protocols.mjs'
import { readToEnd } from './streams.mjs'

const IDLE_DIALS_AT_ONCE = 8
const idle = [] // hosts kept for their connections

/** Run `job(worker)` `count` times in all, by `workers` side by side; resolve with the seconds it took. */
async function timed (count, workers, job) {
  let left = count
  const start = performance.now()
  await Promise.all(workers.map(async worker => {
    while (left-- > 0) await job(worker)
  }))
  return { seconds: (performance.now() - start) / 1000 }
}

async function benchDial (node, { address, count, concurrency }) {
  const makeHosts = () => Promise.all(Array.from({ length: concurrency }, () => makeDialer(node, address)))
  const hosts = concurrency === 1 ? [node] : await makeHosts()
  try {
    return await timed(count, hosts, async host => {
      const connection = await connect(host, address, { force: true }) // not one that is open already
      await ping(connection, 1)
      await close(connection)
    })
  } finally {
    if (concurrency > 1) await Promise.all(hosts.map(host => host.stop()))
  }
}

async function benchStreams (node, { peer, count, concurrency }) {
  const connection = connectionTo(node, peer)
  const payload = Buffer.alloc(32)
  return await timed(count, Array.from({ length: concurrency }), async () => {
    const stream = await open(connection, ECHO)
    let missing = payload.byteLength
    const answer = readToEnd(stream, data => { missing -= data.byteLength })
    stream.send(payload)
    await Promise.all([stream.close(), answer])
    if (missing !== 0) throw new Error(`${missing} of 32 bytes missing`)
  })
}

async function idleConnections (node, { address, count }) {
  const connections = []
  await timed(count, Array.from({ length: IDLE_DIALS_AT_ONCE }), async () => {
    const host = await makeDialer(node, address)
    idle.push(host)
    connections.push(await connect(host, address))
  })
  return { open: connections.filter(({ status }) => status === 'open').length }
}

/** The benchmark commands by name, as in `commands`. */
export const benchmarks = {
  bench_dial: benchDial,
  bench_streams: benchStreams,
  idle_connections: idleConnections
}
