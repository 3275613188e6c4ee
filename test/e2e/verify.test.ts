/** `freshet verify` on real servers: under load, after kills, at rest; and what it says of damage that a server also meets. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { VerifyReport } from '../../packages/freshet/src/app/verify/report.ts'
import { flipBit, frameOffsets, segmentsOf } from './support/log-files.ts'
import { producedStream, Producers } from './support/producers.ts'
import { Scene } from './support/scene.ts'
import { expectStored } from './support/stored.ts'

const stream = 'load'
const config = {
  log: { segment: '64 KiB' },
  lake: { flushInterval: '200 ms' },
  streams: { [stream]: producedStream },
}
const program = join(import.meta.dirname, '../../packages/freshet/bin/freshet.js')

let scene: Scene
let sending: Producers | undefined

beforeEach(async () => {
  scene = await Scene.create('verify', config)
  sending = undefined
})

afterEach(async () => {
  await sending?.abandon()
  await scene.close()
})

/** Runs the command as users do, in a process of its own. */
async function verify(...args: string[]): Promise<{ code: number; report: VerifyReport }> {
  const command = [program, 'verify', '--json', ...args]
  const { code, stdout } = await promisify(execFile)(process.execPath, command, { cwd: scene.folder }).then(
    (done) => ({ code: 0, stdout: done.stdout }),
    (error: { code: number; stdout: string }) => error,
  )
  return { code, report: JSON.parse(stdout) as VerifyReport }
}

function load(): Producers {
  sending = new Producers({ url: scene.url, stream, count: 3, identity: 'ids' })
  return sending
}

test('a folder is in order while a server writes to it, after it was killed, and when it has stopped', async () => {
  let server = await scene.serve()
  const producers = load()
  for (let round = 0; round < 3; round++) {
    await producers.progress(20)
    expect(await verify(...(round === 1 ? ['--deep'] : []))).toMatchObject({ code: 0, report: { problems: [] } })
  }
  await server.stop('SIGKILL')
  expect(await verify()).toMatchObject({ code: 0, report: { problems: [] } })
  server = await scene.serve()
  await producers.progress(20)
  await producers.stop()
  await expectStored(scene.url, stream, producers.acknowledged)
  await server.stop('SIGTERM')

  const { code, report } = await verify('--deep')
  expect({ code, problems: report.problems }).toEqual({ code: 0, problems: [] })
  const { ledger, table, inFlight } = report.streams.find((found) => found.stream === stream)!
  expect(table!.rows).toBe(producers.acknowledged.size)
  expect(inFlight).toEqual({ events: 0, bytes: 0 })
  // Each acknowledged event is a row; what was sent again was accepted again, and recognised by its id.
  expect(ledger).toMatchObject({ committed: producers.acknowledged.size, deadLettered: 0 })
  expect(ledger!.accepted).toBe(ledger!.committed + ledger!.deduplicated)
  expect(ledger!.deduplicated).toBeGreaterThan(0)
})

test('damage that stops a stream is named at the place that the server names', async () => {
  const gateway = await scene.serve(['--role', 'gateway'])
  const producers = load()
  await producers.progress(30)
  await producers.stop()
  await gateway.stop('SIGKILL')
  const { path } = segmentsOf(scene.dataDir, stream)[0]!
  const offset = frameOffsets(path)[1]!
  flipBit(path, readFileSync(path).indexOf('"producer"', offset))

  const { code, report } = await verify(stream)
  expect(code).toBe(1)
  expect(report.problems).toMatchObject([{ check: 'log', stream, file: path, offset }])
  const server = await scene.serve()
  await expect
    .poll(
      async () => {
        const answer = (await (await fetch(`${scene.url}/v1/status`)).json()) as {
          streams: { problem?: string | null }[]
        }
        return answer.streams.map(({ problem }) => problem ?? '').join()
      },
      { timeout: 45_000 },
    )
    .toContain(`at byte ${offset}`)
  await server.stop()
})
