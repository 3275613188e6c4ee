import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { lockFolder } from './folder-lock.ts'

let dataDir: string

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'freshet-lock-'))
})

afterEach(() => rm(dataDir, { recursive: true, force: true }))

const lock = (name: string, waitMs = 0) => lockFolder({ dataDir, name, waitMs })

test('a lock is held by one at a time, also within a process', async () => {
  const held = await lock('server')
  await expect(lock('server')).rejects.toMatchObject({ code: 'data_folder_locked' })
  held.release()
  const again = await lock('server')
  again.release()
})

test('locks of different names do not touch each other', async () => {
  const gateway = await lock('gateway')
  const engine = await lock('engine')
  await expect(lock('engine')).rejects.toMatchObject({ code: 'data_folder_locked' })
  gateway.release()
  engine.release()
})

test('waiting gets the lock when its holder lets go', async () => {
  const held = await lock('server')
  const waitedFor: (number | undefined)[] = []
  const waiting = lockFolder({ dataDir, name: 'server', waitMs: 60_000, onWait: (pid) => waitedFor.push(pid) })
  await vi.waitFor(() => expect(waitedFor).toEqual([process.pid]))
  held.release()
  const got = await waiting
  got.release()
})

test('I10: a lock held by another process names it, and is free once that process is killed', async () => {
  const fixture = join(import.meta.dirname, '../../test/fixtures/lock-holder.ts')
  const holder = spawn(process.execPath, [fixture, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  await expect(lock('server')).rejects.toThrow(`(process ${holder.pid})`)

  const ended = once(holder, 'exit')
  holder.kill('SIGKILL')
  await ended
  const got = await lock('server')
  got.release()
})

test('a data folder that cannot hold a lock is said to be unusable', async () => {
  const held = await lock('server')
  held.release()
  await writeFile(join(dataDir, 'lock', 'server.db'), 'this is no database, but long enough to look like a damaged one')
  await expect(lock('server')).rejects.toMatchObject({ code: 'data_folder_unusable' })
})
