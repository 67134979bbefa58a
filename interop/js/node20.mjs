// Supplies the one ES2024 function that js-libp2p calls and Node 20 lacks. Import it before libp2p.

if (Promise.withResolvers === undefined) {
  Promise.withResolvers = () => {
    let resolve, reject
    const promise = new Promise((...settle) => { [resolve, reject] = settle })
    return { promise, resolve, reject }
  }
}
