/** Sites, heartbeats and completeness from the command line to the header of an answer, with processes killed in between (I1, I10). */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { post, processOf, query, rows, serverStatus } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

let scene: Scene
beforeEach(async () => {
  scene = await Scene.create('sites', {
    lake: { flushInterval: '200 ms' },
    streams: { trades: { id: 'id', time: 'at' } },
  })
})
afterEach(() => scene.close())

const day = '2013-10-07T'

/** Runs `freshet sites ...`; what it prints. */
async function sites(...args: string[]): Promise<string> {
  const command = scene.run(['sites', ...args, '--url', scene.url])
  if ((await command.ended()) !== 0) throw new Error(command.output)
  return command.output
}

let ids = 0
async function send(source: string, time: string): Promise<void> {
  const { status } = await post(scene.url, 'trades', [{ id: `e${ids++}`, at: day + time }], {
    'freshet-source': source,
  })
  expect(status).toBe(202)
}

/** Waits until SQL says that the stream is complete through this time of the day. */
async function completeThrough(time: string | null): Promise<void> {
  const expected = time === null ? null : `${day}${time}.000Z`
  await vi.waitFor(async () => {
    const sql = "select complete_through('trades') as t, count(*) as n from trades"
    const { headers, body } = await query(scene.url, sql)
    expect(body['rows']).toMatchObject([{ t: expected }])
    expect(headers.get('freshet-complete-through')).toBe(expected && `trades=${expected}`)
  }, patience)
}

async function kill(role: 'engine' | 'gateway'): Promise<void> {
  const { pid } = await processOf(scene.url, role)
  process.kill(pid, 'SIGKILL')
  await vi.waitFor(async () => expect((await processOf(scene.url, role)).pid).not.toBe(pid), patience)
}

test('sites are added, beat, pause and are removed; nothing of it is lost when processes are killed', async () => {
  await scene.serve()
  expect(await sites('add', 'london', '--streams', 'trades')).toBe('london is active; it reports to trades.\n')
  await sites('add', 'paris')
  await send('london', '10:00:00Z')
  await send('paris', '09:00:00Z')
  await completeThrough('09:00:00')
  expect(await sites('heartbeat', 'paris', '--stream', 'trades', '--until', `${day}12:00:00+02:00`)).toContain(
    'paris has reported trades until 2013-10-07T10:00:00.000Z.',
  )
  await completeThrough('10:00:00')
  await send('london', '11:00:00Z')

  await kill('engine')
  await completeThrough('10:00:00')
  await kill('gateway')
  expect(await sites('list')).toContain(
    'trades: complete through 2013-10-07T10:00:00.000Z; waiting for paris, silent for',
  )
  await sites('pause', 'paris')
  await completeThrough('11:00:00')

  await kill('gateway')
  await kill('engine')
  await completeThrough('11:00:00')
  expect(await rows(scene.url, 'select site, state from freshet.sites order by site')).toEqual([
    { site: 'london', state: 'active' },
    { site: 'paris', state: 'paused' },
  ])
  await sites('resume', 'paris')
  await completeThrough('10:00:00')
  await sites('remove', 'paris')
  await completeThrough('11:00:00')
  await sites('remove', 'london')
  await completeThrough(null)
})

test('a mistyped name changes nothing', async () => {
  await scene.serve()
  await sites('add', 'london')
  await expect(sites('pause', 'lodnon')).rejects.toThrow(/Did you mean "london"\?/)
  await expect(sites('add', 'paris', '--streams', 'trade')).rejects.toThrow(/Did you mean "trades"\?/)
  expect(JSON.parse(await sites('--json'))).toMatchObject({ sites: [{ name: 'london', state: 'active' }] })
})

test('a registry that is damaged is reported, and everything else goes on', async () => {
  const first = await scene.serve()
  await sites('add', 'london')
  await first.stop()
  const folder = join(scene.dataDir, 'sites')
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), 'no database '.repeat(1000))
  await scene.serve()
  await send('london', '10:00:00Z')
  await vi.waitFor(
    async () => expect(await rows(scene.url, 'select count(*) as n from trades')).toEqual([{ n: 1 }]),
    patience,
  )
  await expect(sites('list')).rejects.toThrow(/site registry .* cannot be used/)
  expect((await query(scene.url, "select complete_through('trades')")).body['code']).toBe('sites_unavailable')
  expect(await serverStatus(scene.url)).toMatchObject({ sites: { registered: null, problem: expect.any(String) } })
})
