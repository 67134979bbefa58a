#!/usr/bin/env node
// The peer program: parses the arguments, listens, and answers the commands that come on standard input.

import './node20.mjs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { version } from 'libp2p/version'
import { benchmarks } from './bench.mjs'
import { commands } from './commands.mjs'
import { KEY_TYPES, makeHost } from './host.mjs'
import { serve } from './protocols.mjs'
import { PUBSUB_OPTIONS, pubsubServices, unsupportedPubsub } from './pubsub.mjs'
import { topicCommands } from './topics.mjs'
import { TRANSPORT_OPTIONS, trust, unsupportedTransport } from './transports.mjs'

const operations = { ...commands, ...benchmarks, ...topicCommands }

const print = message => process.stdout.write(JSON.stringify(message) + '\n')

function unsupported (what, reason) {
  print({ event: 'unsupported', what, reason })
  process.exit(3)
}

async function start () {
  const { values } = parseArgs({
    options: {
      'key-type': { type: 'string', default: 'ed25519' },
      listen: { type: 'string', multiple: true, default: ['/ip4/127.0.0.1/tcp/0'] },
      ...TRANSPORT_OPTIONS,
      ...PUBSUB_OPTIONS
    }
  })
  const keyType = values['key-type']
  if (!Object.hasOwn(KEY_TYPES, keyType)) {
    unsupported(`key-type ${keyType}`, `js-libp2p makes no peer id from ${keyType} keys`)
  }
  const impossible = unsupportedTransport(values) ?? unsupportedPubsub(values)
  if (impossible !== undefined) unsupported(...impossible)
  trust(values.ca)
  const node = await makeHost(keyType, values, pubsubServices(values))
  await serve(node)
  return node
}

async function answer (node, line) {
  let id = null
  try {
    const command = JSON.parse(line)
    id = command.id ?? null
    if (command.op === 'exit') {
      print({ id, ok: true })
      process.exit(0)
    }
    if (!Object.hasOwn(operations, command.op)) throw new Error(`unknown op ${command.op}`)
    print({ id, ok: true, ...await operations[command.op](node, command) })
  } catch (error) {
    const reasons = [error, ...error.errors ?? []].map(({ name, message }) => `${name}: ${message}`)
    print({ id, ok: false, error: reasons.join('; ').replace(/\s+/g, ' ') })
  }
}

const node = await start()

// A stream that breaks may throw inside libp2p where it is not caught; that must not end the process.
process.on('unhandledRejection', error => console.error('unhandled rejection:', error))
process.on('uncaughtException', error => console.error('uncaught exception:', error))

const input = createInterface({ input: process.stdin, crlfDelay: Infinity })
input.on('line', line => { if (line.trim() !== '') answer(node, line) })
input.on('close', () => process.exit(0))
print({
  event: 'listening',
  implementation: 'js-libp2p',
  version,
  peer_id: node.peerId.toString(),
  addresses: node.getMultiaddrs().map(String)
})
