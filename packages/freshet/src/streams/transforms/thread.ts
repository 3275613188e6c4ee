/** The thread of one transform, or of the functions of one sink. It runs the configuration's file once, and then what it is sent. */
import { parentPort, workerData } from 'node:worker_threads'
import { readConfig } from '../../config/load.ts'
import { versionOfCode } from '../../config/transforms.ts'
import { openDoor } from '../../events/door.ts'
import { messageOf } from '../../runtime/errors.ts'
import { OutputLines } from './output-lines.ts'
import { BatchRunner, functionOf } from './run-batch.ts'
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts'

const port = parentPort!
const { configFile, stream, sink, limits, progress } = workerData as ThreadData
const beat = new Int32Array(progress)
const objects = new Map<number, PromiseWithResolvers<Uint8Array>>()
let asked = 0

function say(message: FromThread, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer)
}

function atEvent(index: number): void {
  Atomics.store(beat, 0, index)
  Atomics.add(beat, 1, 1)
}

function readObject(bucket: string, sha256: string): Promise<Uint8Array> {
  const id = ++asked
  const answer = Promise.withResolvers<Uint8Array>()
  objects.set(id, answer)
  say({ type: 'object', id, bucket, sha256 })
  return answer.promise
}

const { words, codeHash } = await readConfig(configFile)
const runner = stream?.transform && stream.transform.kind !== 'sql' ? runnerOf(stream, stream.transform) : undefined

function runnerOf(
  own: NonNullable<ThreadData['stream']>,
  { kind, timeoutMs, batchEventsMax, version }: NonNullable<NonNullable<ThreadData['stream']>['transform']>,
): BatchRunner {
  const transform = functionOf(words, own)
  // What comes of it would be said to be of the code that the server was started with.
  if (versionOfCode(String(transform), codeHash) !== version) {
    throw new Error(`the code of streams.${own.name} has changed since the server was started. Start the server again`)
  }
  return new BatchRunner({
    kind: kind === 'batch' ? 'batch' : 'each',
    call: transform,
    lines: new OutputLines(openDoor(own, limits.nestingMax, true), limits),
    timeoutMs,
    batchEventsMax,
    readObject,
    atEvent,
  })
}

async function runBatch(message: ToThread & { type: 'batch' }): Promise<void> {
  const { made, failed } = await runner!.run({ ...message, leaveOut: new Set(message.leaveOut) })
  const buffers = new Set(made.map(({ bytes }) => bytes.buffer).filter((buffer) => buffer instanceof ArrayBuffer))
  say({ type: 'made', id: message.id, made: [...made], failed: [...failed] }, [...buffers])
}

async function call({ id, name, args }: ToThread & { type: 'call' }): Promise<void> {
  const found = (words['sinks'] as Record<string, Record<string, unknown>> | undefined)?.[sink ?? '']?.[name]
  if (typeof found !== 'function') throw new Error(`The configuration no longer has the function sinks.${sink}.${name}`)
  say({ type: 'returned', id, value: await (found as (...args: readonly unknown[]) => unknown)(...args) })
}

port.on('message', (message: ToThread) => {
  if (message.type === 'object') {
    const waiting = objects.get(message.id)
    objects.delete(message.id)
    if (message.bytes !== undefined) waiting?.resolve(message.bytes)
    else waiting?.reject(new Error(message.problem ?? 'the object is not there'))
    return
  }
  const { id } = message
  const work = message.type === 'batch' ? runBatch(message) : call(message)
  work.catch((error: unknown) => {
    const stack = error instanceof Error ? error.stack : undefined
    say({ type: 'failed', id, message: messageOf(error), stack })
  })
})
say({ type: 'ready' })
