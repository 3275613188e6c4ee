/** A disk that runs full, under the gateway and under the engine: I1, I3, I5, I10. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { post, serverStatus, streamStatus } from './support/api.ts'
import { producedStream, Producers } from './support/producers.ts'
import { Scene } from './support/scene.ts'
import { expectStored } from './support/stored.ts'
import { patience, until } from './support/until.ts'
import { Watcher } from './support/watcher.ts'

const stream = 'load'
const mebibyte = 1024 * 1024

let disk: SmallDisk | undefined
let scene: Scene
let producers: Producers | undefined
let watcher: Watcher | undefined

/** A file system of 48 MB in memory, mounted for these tests. */
class SmallDisk {
  readonly folder: string

  /** The disk, or why there is none. */
  static mount(): SmallDisk | string {
    const folder = mkdtempSync(join(tmpdir(), 'freshet-disk-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m,mode=0700', 'tmpfs', folder], { stdio: 'pipe' })
      return new SmallDisk(folder)
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      return `a small tmpfs cannot be mounted here: ${(error as Error).message.trim()}`
    }
  }

  private constructor(folder: string) {
    this.folder = folder
  }

  get #ballast(): string {
    return join(this.folder, 'ballast')
  }

  /** Takes up space until this much is left; 0 takes the last page. */
  fillUpTo(freeBytes: number): void {
    const file = openSync(this.#ballast, 'a')
    try {
      for (;;) {
        const { bavail, bsize } = statfsSync(this.folder)
        const excess = bavail * bsize - freeBytes
        if (excess <= 0) return
        writeSync(file, Buffer.alloc(Math.min(excess, mebibyte), 1))
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(file)
    }
  }

  free(): void {
    rmSync(this.#ballast, { force: true })
  }

  remove(): void {
    execFileSync('umount', [this.folder], { stdio: 'pipe' })
    rmSync(this.folder, { recursive: true, force: true })
  }
}

const mounted = process.platform === 'linux' ? SmallDisk.mount() : 'only Linux has tmpfs'
if (typeof mounted === 'string') console.warn(`The tests of a full disk are left out: ${mounted}`)
else disk = mounted

beforeEach(() => {
  producers = undefined
  watcher = undefined
})

afterEach(async () => {
  await producers?.abandon()
  await watcher?.stop().catch(() => undefined)
  await scene?.close()
  disk?.free()
})

afterAll(() => disk?.remove())

async function serve(diskFree: string | number, name: string): Promise<void> {
  scene = await Scene.create(
    name,
    {
      limits: { diskFree },
      log: { segment: '256 KiB' },
      lake: { flushInterval: '300 ms' },
      streams: { [stream]: producedStream },
    },
    join(disk!.folder, name),
  )
  await scene.serve()
  producers = new Producers({ url: scene.url, stream, count: 2, padding: 200 })
  watcher = new Watcher({ url: scene.url, stream, batchEvents: producers.batchEvents })
}

async function expectNothingDied(): Promise<void> {
  const { processes } = await serverStatus(scene.url)
  expect(processes.map(({ role, restarts }) => [role, restarts])).toEqual([
    ['supervisor', 0],
    ['gateway', 0],
    ['engine', 0],
  ])
}

const event = (id: string) => ({ id, at: '2026-01-10T00:00:00Z', producer: 'probe', sequence: 0 })

test.skipIf(disk === undefined)(
  'below the reserve, ingest answers 503 and nothing is half accepted; with space it goes on',
  async () => {
    await serve('8 MiB', 'reserve')
    await producers!.progress()
    disk!.fillUpTo(6 * mebibyte)
    await until('ingest is refused', () => producers!.refusals.has('503 disk_full'))
    const refusal = await vi.waitFor(async () => {
      const answer = await post(scene.url, stream, [event('refused')])
      expect(answer).toMatchObject({ status: 503, body: { code: 'disk_full' } })
      return answer
    }, patience)
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(0)
    await vi.waitFor(async () => expect(await fetch(`${scene.url}/readyz`)).toMatchObject({ status: 503 }), patience)
    expect(await fetch(`${scene.url}/healthz`)).toMatchObject({ status: 200 })
    await watcher!.progress()

    disk!.free()
    await producers!.progress()
    await producers!.stop()
    await expectStored(scene.url, stream, producers!.acknowledged)
    await vi.waitFor(async () => expect(await fetch(`${scene.url}/readyz`)).toMatchObject({ status: 200 }), patience)
    await watcher!.stop()
    await expectNothingDied()
  },
)

test.skipIf(disk === undefined)(
  'to the last byte, gateway and engine refuse and wait; nothing is lost or doubled',
  async () => {
    await serve(0, 'full')
    await producers!.progress()
    disk!.fillUpTo(0)
    await until('ingest is refused', () => producers!.refusals.has('503 disk_full'))
    // The engine has to write too: what it loads, and what it commits.
    await vi.waitFor(
      async () => expect((await streamStatus(scene.url, stream)).problem).toMatch(/ENOSPC|[Nn]o space/),
      patience,
    )
    // The log gives space free when the engine commits, and that may be taken at once.
    disk!.fillUpTo(0)
    await watcher!.progress()
    await expectNothingDied()

    disk!.free()
    await producers!.progress()
    await producers!.stop()
    await expectStored(scene.url, stream, producers!.acknowledged)
    await vi.waitFor(async () => {
      const { checkpoint, logEnd, problem } = await streamStatus(scene.url, stream)
      expect({ checkpoint, problem }).toEqual({ checkpoint: logEnd, problem: null })
    }, patience)
    await watcher!.progress()
    await watcher!.stop()
    await expectNothingDied()
  },
)

test.skipIf(disk === undefined)(
  'a server killed on a full disk starts again and has everything acknowledged once',
  async () => {
    await serve(0, 'killed')
    await producers!.progress()
    disk!.fillUpTo(0)
    await until('ingest is refused', () => producers!.refusals.has('503 disk_full'))
    for (const { pid } of (await serverStatus(scene.url)).processes) process.kill(pid, 'SIGKILL')
    disk!.free()
    await scene.serve()
    await producers!.progress()
    await watcher!.progress()
    await producers!.stop()
    await expectStored(scene.url, stream, producers!.acknowledged)
    await watcher!.stop()
  },
)
