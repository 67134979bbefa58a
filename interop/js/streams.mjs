// Reads and writes js-libp2p's event streams with back-pressure.

/** Resolve with the detail of `name`, or reject when the stream closes first. */
function once (stream, name) {
  return new Promise((resolve, reject) => {
    const settle = event => {
      stream.removeEventListener(name, settle)
      stream.removeEventListener('close', settle)
      event.type === name ? resolve(event) : reject(event.error ?? new Error('stream closed'))
    }
    stream.addEventListener(name, settle)
    stream.addEventListener('close', settle)
  })
}

/** Wait until the stream takes data again; reject when it cannot any more. */
export async function drained (stream) {
  // Not stream.onDrain(): its promise is made once and stays resolved, so it holds back only the first time.
  while (stream.writableNeedsDrain) {
    if (stream.writeStatus === 'closed') throw new Error('stream closed')
    await once(stream, 'drain')
  }
}

/** Send every chunk of an iterable, never more than one chunk ahead of what the stream takes. */
export async function sendAll (stream, chunks) {
  for (const chunk of chunks) {
    if (!stream.send(chunk)) await drained(stream)
  }
}

function brokenBy (stream, error) {
  if (error !== undefined) return error
  if (stream.status === 'reset' || stream.status === 'aborted') return new Error(`stream ${stream.status}`)
}

/** Pass each chunk to `onData` until the remote closes its write side; reject when the stream breaks. */
export function readToEnd (stream, onData) {
  return new Promise((resolve, reject) => {
    const finish = error => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('end', onEnd)
      stream.removeEventListener('close', onClose)
      error === undefined ? resolve() : reject(error)
    }
    const onMessage = ({ data }) => {
      try {
        onData(data)
      } catch (error) { // thrown into an event target, it would end the process
        stream.abort(error)
        finish(error)
      }
    }
    const onEnd = () => finish(brokenBy(stream)) // 'end' comes before 'close' on a reset too
    const onClose = ({ error }) => finish(brokenBy(stream, error))
    stream.addEventListener('message', onMessage)
    stream.addEventListener('end', onEnd)
    stream.addEventListener('close', onClose)
    // A stream that ended during its negotiation says so at once, though what came before the end is still to be
    // dispatched to the listener just added.
    if (stream.readableEnded) setTimeout(onEnd)
  })
}

/** Send `payload` and resolve once as many bytes have come back, with those bytes. */
export function exchange (stream, payload) {
  return new Promise((resolve, reject) => {
    const answer = []
    let missing = payload.byteLength
    const settle = () => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('end', onEnd)
      stream.removeEventListener('close', onEnd)
    }
    const onMessage = ({ data }) => {
      answer.push(data.subarray())
      missing -= data.byteLength
      if (missing > 0) return
      settle()
      resolve(Buffer.concat(answer))
    }
    const onEnd = ({ error }) => {
      settle()
      reject(brokenBy(stream, error) ?? new Error(`stream ended with ${missing} bytes missing`))
    }
    stream.addEventListener('message', onMessage)
    stream.addEventListener('end', onEnd)
    stream.addEventListener('close', onEnd)
    sendAll(stream, [payload]).catch(error => { settle(); reject(error) })
  })
}

/** Yield `total` zero bytes in blocks of `size`; every block is the same memory. */
export function * blocks (total, size) {
  const block = new Uint8Array(Math.min(total, size))
  for (let left = total; left > 0; left -= size) {
    yield left >= size ? block : block.subarray(0, left)
  }
}

/** Feed a chunk, which may be a list of buffers, to a hash. */
export function update (hash, data) {
  if (data instanceof Uint8Array) hash.update(data)
  else for (const buffer of data) hash.update(buffer)
}
