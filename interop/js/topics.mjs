// The contract's publish/subscribe commands, and what was received on each topic.

import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

const FORM = /^([1-9A-HJ-NP-Za-km-z]+):(\d+):x*$/
const BURST = 32 // publishing never leaves the microtask queue; the network needs its turn
const receipts = new Map() // topic -> Receipts
let listening = false

/** What the application received on one topic. */
class Receipts {
  constructor (self) {
    this.self = self
    this.seen = new Set()
    this.counts = { total: 0, duplicates: 0, malformed: 0, wrong_author: 0, authors: {} }
    this.waiting = new Set()
  }

  add ({ data, from }) {
    const [form, author] = FORM.exec(Buffer.from(data).toString('latin1')) ?? []
    if (form === undefined) {
      this.counts.malformed++
      return
    }
    if (author === this.self) return
    if (from !== undefined && from.toString() !== author) this.counts.wrong_author++
    const content = `${form.replace(/x*$/, '')}${data.byteLength}` // says all of a message of this form
    if (this.seen.has(content)) {
      this.counts.duplicates++
      return
    }
    this.seen.add(content)
    this.counts.total++
    this.counts.authors[author] = (this.counts.authors[author] ?? 0) + 1
    for (const wake of this.waiting) wake()
  }

  /** Resolve once `count` messages were received, or after `seconds`. */
  wait (count, seconds) {
    return new Promise(resolve => {
      const settle = () => {
        clearTimeout(timer)
        this.waiting.delete(check)
        resolve()
      }
      const check = () => { if (this.counts.total >= count) settle() }
      const timer = setTimeout(settle, seconds * 1000)
      this.waiting.add(check)
      check()
    })
  }
}

function pubsubOf (node) {
  const { pubsub } = node.services
  if (pubsub === undefined) throw new Error('started without --pubsub')
  return pubsub
}

function receiptsOf (node, topic) {
  if (!receipts.has(topic)) receipts.set(topic, new Receipts(node.peerId.toString()))
  return receipts.get(topic)
}

async function subscribe (node, { topic }) {
  const pubsub = pubsubOf(node)
  if (!listening) pubsub.addEventListener('message', ({ detail }) => receiptsOf(node, detail.topic).add(detail))
  listening = true
  pubsub.subscribe(topic)
}

async function publish (node, { topic, count, bytes, start = 0, interval_ms: interval = 0 }) {
  const pubsub = pubsubOf(node)
  let published = 0
  let firstError = null
  const begun = performance.now()
  for (let n = start; n < start + count; n++) {
    if (n > start && interval > 0) await sleep(interval)
    else if (n % BURST === 0) await setImmediate()
    try {
      await pubsub.publish(topic, Buffer.from(`${node.peerId}:${n}:`.padEnd(bytes, 'x')))
      published++
    } catch (error) {
      firstError ??= `${error.name}: ${error.message}`
    }
  }
  const seconds = (performance.now() - begun) / 1000
  return { published, failed: count - published, first_error: firstError, seconds }
}

async function waitReceived (node, { topic, count, seconds }) {
  pubsubOf(node)
  const begun = performance.now()
  const all = receiptsOf(node, topic)
  await all.wait(count, seconds)
  return { ...all.counts, seconds: (performance.now() - begun) / 1000 }
}

/** The publish/subscribe commands by name, as in `commands`. */
export const topicCommands = {
  subscribe,
  unsubscribe: async (node, { topic }) => { pubsubOf(node).unsubscribe(topic) },
  publish,
  wait_received: waitReceived,
  received: async (node, { topic }) => pubsubOf(node) && receiptsOf(node, topic).counts,
  topic_peers: async (node, { topic }) => ({ peers: pubsubOf(node).getSubscribers(topic).map(String) }),
  mesh: async (node, { topic }) => ({ peers: pubsubOf(node).getMeshPeers?.(topic) ?? null }),
  rpc_counts: async node => pubsubOf(node).rpcCounts
}
