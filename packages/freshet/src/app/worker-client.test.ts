import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openWorkerClient, type WorkerClient } from './worker-client.ts'

let folder: string
let socket: string
let worker: Server | undefined
let client: WorkerClient
const stop = new AbortController()

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-worker-client-'))
  socket = join(folder, 'worker.sock')
  client = openWorkerClient(socket)
})

afterEach(async () => {
  await client.close()
  await die()
  await rm(folder, { recursive: true, force: true })
})

async function live(answer: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<void> {
  worker = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => worker!.listen(socket, resolve))
}

/** As a process that is killed: all its connections break. */
async function die(): Promise<void> {
  const dying = worker
  worker = undefined
  if (dying === undefined) return
  dying.closeAllConnections()
  await new Promise<void>((resolve) => dying.close(() => resolve()))
}

const refuse = (response: ServerResponse, status: number, problem: object): void => {
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
}
const lines = Buffer.from('{"_event_id":"a"}\n{"_event_id":"b"}\n')
const run = (): ReturnType<WorkerClient['transforms']['run']> => client.transforms.run('clean', lines, 2, stop.signal)
const pause = (signal = stop.signal): ReturnType<WorkerClient['transforms']['pause']> =>
  client.transforms.pause('clean', signal)

describe('running a transform', () => {
  test('gives it lines, and takes lines and letters', async () => {
    const seen: unknown[] = []
    await live(async (request, response) => {
      const body = await buffer(request)
      seen.push(request.method, request.url, request.headers['freshet-count'], body.toString())
      response.end('{"count":1,"letters":[{"code":"timeout"}]}\n{"made":"of a"}\n')
    })
    const made = await run()
    expect(seen).toEqual(['POST', '/v1/transforms/clean/run', '2', lines.toString()])
    expect({ ...made, lines: made.lines.toString() }).toEqual({
      count: 1,
      letters: [{ code: 'timeout' }],
      lines: '{"made":"of a"}\n',
    })
  })

  test('a refusal has its code, its words and its hint; one with a code that is none is an internal error', async () => {
    let code = 'not_found'
    await live((_request, response) => refuse(response, 404, { code, detail: 'No transform.', hint: 'Look.' }))
    await expect(run()).rejects.toMatchObject({ code: 'not_found', message: 'No transform.', hint: 'Look.' })
    code = 'constructor'
    await expect(run()).rejects.toMatchObject({ code: 'internal', message: 'No transform.' })
  })

  test('without a worker, or with one that dies at it, may be tried again', async () => {
    await expect(run()).rejects.toMatchObject({ code: 'worker_unavailable', retryable: true })
    await live((request, response) => {
      request.resume()
      response.write('{"count":1,"letters":[]}\n{"half')
      setImmediate(() => void die())
    })
    await expect(run()).rejects.toMatchObject({ code: 'worker_unavailable' })
  })
})

describe('a transform that rests', () => {
  let isOn: boolean
  beforeEach(() => (isOn = false))

  /** A worker that lets it rest. */
  function resting(): Promise<void> {
    return live((_request, response) => {
      response.once('close', () => (isOn = true))
      // In two pieces, as a socket may give it.
      response.write('{"log":"9007199254740')
      setImmediate(() => response.write('993","skip":2}\n'))
    })
  }

  test('says where, does so for as long as it is to, and goes on then', async () => {
    await resting()
    const rest = await pause()
    expect(rest.place).toEqual({ log: 9_007_199_254_740_993n, skip: 2 })
    expect(isOn).toBe(false)
    await rest.resume()
    await expect.poll(() => isOn).toBe(true)
  })

  test('goes on when whoever paused it is gone', async () => {
    await resting()
    await pause()
    expect(isOn).toBe(false)
    await client.close()
    await expect.poll(() => isOn).toBe(true)
  })

  test('in a worker that dies meanwhile breaks nothing: it is resumed all the same, and can be paused again', async () => {
    await live((_request, response) => response.write('{"log":"7","skip":0}\n'))
    const rest = await pause()
    await die()
    await rest.resume()
    await expect(pause()).rejects.toMatchObject({ code: 'worker_unavailable' })
    await live((_request, response) => response.write('{"log":"8","skip":0}\n'))
    expect((await pause()).place).toEqual({ log: 8n, skip: 0 })
  })

  test('in a worker that dies before it says where is none', async () => {
    await live((_request, response) => {
      response.write('{"log":"7"')
      setImmediate(() => void die())
    })
    await expect(pause()).rejects.toMatchObject({ code: 'worker_unavailable' })
    await live((_request, response) => void response.end('{"log":"7"'))
    await expect(pause()).rejects.toMatchObject({ code: 'worker_unavailable' })
  })

  test('is not waited for any longer than its signal says', async () => {
    const { promise: asked, resolve } = Promise.withResolvers<void>()
    await live(() => resolve())
    const gone = new AbortController()
    const paused = pause(gone.signal)
    await asked
    gone.abort()
    await expect(paused).rejects.toMatchObject({ code: 'worker_unavailable' })
  })

  test('one that has not come to the log yet refuses', async () => {
    await live((_request, response) => refuse(response, 409, { code: 'replay_refused', detail: 'Not yet.' }))
    await expect(pause()).rejects.toMatchObject({ code: 'replay_refused', message: 'Not yet.' })
  })
})

describe('inputs that are given to a consumer again', () => {
  test('have an outcome each', async () => {
    const seen: unknown[] = []
    const outcomes = [{ accepted: true }, { accepted: false, code: 'timeout', message: 'slow' }]
    await live(async (request, response) => {
      seen.push(request.url, JSON.parse((await buffer(request)).toString()))
      response.end(JSON.stringify(outcomes))
    })
    expect(await client.replayAtConsumer('sink:crm', ['a', 'b'], true)).toEqual(outcomes)
    expect(seen).toEqual(['/v1/consumers/sink%3Acrm/replay', { inputs: ['a', 'b'], dryRun: true }])
  })

  test('of a consumer that is no more stay letters; other refusals are errors', async () => {
    let problem = { code: 'not_found', detail: 'No consumer.' }
    await live((request, response) => {
      request.resume()
      refuse(response, 404, problem)
    })
    expect(await client.replayAtConsumer('sink:crm', ['a'], false)).toEqual([
      { accepted: false, code: 'not_found', message: 'No consumer.' },
    ])
    problem = { code: 'sink_target_unusable', detail: 'Down.' }
    await expect(client.replayAtConsumer('sink:crm', ['a'], false)).rejects.toMatchObject({
      code: 'sink_target_unusable',
    })
  })
})
