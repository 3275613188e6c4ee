import { PassThrough } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { cli, fakeServer, type CliSetting, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer
afterEach(() => server.close())

const counts = { appear: 1, change: 1200, vanish: 2, same: 5 }
const findings = {
  ...counts,
  events: 1300,
  letters: 1,
  partitions: [{ partition: '2026-11-20', ...counts }],
  partitionsChanged: 1,
  partitionsSame: 3,
}
const replay = {
  id: 'r1',
  stream: 'clean',
  state: 'previewing',
  requestedAt: '2026-11-20T12:00:00.000Z',
  from: '2026-11-20T00:00:00.000Z',
  to: null,
  version: 'abc',
  preview: null,
  applied: null,
  commits: [],
  undone: [],
  waitingFor: null,
  undoUntil: null,
}
const sample = {
  rows: [
    {
      id: 'o-1',
      kind: 'change',
      columns: { amount: { before: 13.5, after: '\u001b[31m' }, note: { before: null, after: 'x' } },
    },
    { id: 'o-2', kind: 'vanish', columns: { _event_id: { before: 'o-2' }, amount: { before: 5 } } },
  ],
  letters: [{ event_id: 'o-9', code: 'function_failed', message: 'no ones' }],
}
const previewed = { ...replay, state: 'previewed', preview: findings, sample }
const applying = { ...previewed, state: 'applying' }
const applied = {
  ...previewed,
  state: 'applied',
  applied: findings,
  commits: [{ snapshotId: '7', partitions: '2026-11-20', rowsRemoved: 1202, rowsAdded: 1201 }],
  undoUntil: '2026-11-27T12:00:00.000Z',
}
const none = { ...findings, appear: 0, change: 0, vanish: 0, letters: 0, partitions: [], partitionsChanged: 0 }

const toPreview = 'POST /v1/streams/clean/replays'
const toApply = 'POST /v1/replays/r1/apply'
const toShow = 'GET /v1/replays/r1'

/** Answers by method and path, in turn where there are several. */
async function start(answers: Record<string, unknown[]>): Promise<void> {
  const left = Object.fromEntries(Object.entries(answers).map(([asked, list]) => [asked, [...list]]))
  server = await fakeServer(({ method, path }, response) => {
    const list = left[`${method} ${path}`] ?? []
    const answer = list.length > 1 ? list.shift() : list[0]
    if (answer === undefined) return response.writeHead(404).end('{"code":"unknown_replay","detail":"There is none."}')
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
}

const run = (args: readonly string[], setting: CliSetting = {}): ReturnType<typeof cli> =>
  cli([...args, '--url', server.url], setting)
const sent = (): unknown[] =>
  server.requests.map(({ method, path, body }) => [
    `${method} ${path}`,
    ...(body.length > 0 ? [JSON.parse(body.toString()) as unknown] : []),
  ])

/** A terminal at which somebody types. */
const terminal = (text: string): CliSetting => ({
  terminalWidth: 120,
  stdin: Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} }).end(text),
})

describe('a preview', () => {
  test('shows counts, partitions and single rows, and changes nothing', async () => {
    await start({ [toPreview]: [replay], [toShow]: [replay, previewed] })
    const { code, stdout } = await run(['replay', 'clean', '--from', '2026-11-20', '--keep', '1 h', '--dry-run'])
    expect(code).toBe(0)
    expect(stdout).toContain(
      'replay r1 of clean: previewed\nevent times from 2026-11-20T00:00:00.000Z, code of version abc\n',
    )
    expect(stdout).toContain(
      '1,300 events given to the code: 1 row would appear, 1,200 would change, 2 would vanish; 5 the same\n' +
        '1 event would fail: dead letters\n',
    )
    expect(stdout).toMatch(
      /partition +appear +change +vanish +same\n.+\n2026-11-20 +1 +1,200 +2 +5\n3 partitions not touched/,
    )
    expect(stdout).toContain('o-1: change\n  amount: 13.5 -> "')
    expect(stdout).toContain('  note: null -> "x"\no-2: vanish\n  amount: 5\n... 1,201 rows more\n')
    expect(stdout).toContain('o-9: function_failed: no ones\n')
    expect(stdout).toContain('Nothing was changed. freshet replay --apply r1 applies it.\n')
    expect(stdout).not.toContain('\u001b')
    expect(sent()[0]).toEqual([toPreview, { from: '2026-11-20', keepMs: 3_600_000, dryRun: true }])
    expect(sent().slice(1)).toEqual([[toShow], [toShow]])
  })

  test('ends with 1 where it failed, and says why', async () => {
    await start({ [toPreview]: [{ ...replay, state: 'failed', waitingFor: 'The worker does not answer.' }] })
    const { code, stdout } = await run(['replay', 'clean', '--yes'])
    expect(code).toBe(1)
    expect(stdout).toContain('failed: The worker does not answer.\n')
    expect(sent()).toHaveLength(1)
  })

  test('is all, where nothing differs', async () => {
    await start({ [toPreview]: [{ ...previewed, preview: none, sample: { rows: [], letters: [] } }] })
    const { code, stdout } = await run(['replay', 'clean', '--yes'])
    expect(code).toBe(0)
    expect(stdout).toContain('0 rows would appear')
    expect(stdout).toMatch(/Nothing was changed\.\n$/)
    expect(sent()).toHaveLength(1)
  })
})

describe('an apply', () => {
  test('comes after the preview where --yes says so, and says how it can be undone', async () => {
    const waits = { ...applying, waitingFor: 'The worker does not answer.' }
    await start({ [toPreview]: [previewed], [toApply]: [applying], [toShow]: [waits, waits, applied] })
    const { code, stdout, stderr } = await run(['replay', 'clean', '--yes'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'waits: The worker does not answer.\n' })
    expect(stdout).toContain('replay r1 of clean: previewed\n')
    expect(stdout).toContain('replay r1 of clean: applied\n')
    expect(stdout).toContain('1 row appeared, 1,200 changed, 2 vanished')
    expect(stdout).toContain('by 1 commit\nuntil 2026-11-27T12:00:00.000Z it can be undone: freshet replay --undo r1\n')
    expect(sent().slice(0, 2)).toEqual([
      [toPreview, { dryRun: true }],
      [toApply, {}],
    ])
  })

  test('asks at a terminal: y applies it', async () => {
    await start({ [toPreview]: [previewed], [toApply]: [applied] })
    const { code, stdout } = await run(['replay', 'clean'], terminal('y'))
    expect(code).toBe(0)
    expect(stdout).toContain('Swap these rows of clean?')
    expect(sent().at(-1)).toEqual([toApply, {}])
  })

  test.each([
    ['no', 'n'],
    ['nothing, as no is the default', '\r'],
    ['Ctrl-C', '\u0003'],
  ])('asks at a terminal: %s does not', async (_, text) => {
    await start({ [toPreview]: [previewed], [toApply]: [applied] })
    const { code, stdout } = await run(['replay', 'clean'], terminal(text))
    expect(code).toBe(130)
    expect(stdout).toContain('freshet replay --apply r1\n')
    expect(sent()).toHaveLength(1)
  })

  test('of an earlier preview', async () => {
    await start({ [toApply]: [applied] })
    expect((await run(['replay', '--apply', 'r1'])).stdout).toContain('applied')
    expect(sent()).toEqual([[toApply, {}]])
    expect(await run(['replay', '--apply', 'r2'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is none.'),
    })
  })

  test('goes on without the command after Ctrl-C', async () => {
    await start({ [toApply]: [applying], [toShow]: [applying] })
    let interrupt = (): void => undefined
    const running = run(['replay', '--apply', 'r1'], { onReady: (given) => (interrupt = given) })
    await expect.poll(() => server.requests.length).toBeGreaterThan(2)
    interrupt()
    expect(await running).toMatchObject({ code: 130, stderr: 'The server goes on with it: freshet replays r1\n' })
  })

  test('with --json prints one document', async () => {
    await start({ [toPreview]: [previewed], [toApply]: [applied] })
    expect(JSON.parse((await run(['replay', 'clean', '--yes', '--json'])).stdout)).toEqual(applied)
    expect(JSON.parse((await run(['replay', 'clean', '--dry-run', '--json'])).stdout)).toEqual(previewed)
  })
})

test('an undo says what is back', async () => {
  const undone = [
    { snapshotId: '8', partitions: '2026-11-20', rowsRemoved: 1201, rowsAdded: 1202 },
    { snapshotId: '9', partitions: '2026-11-21', rowsRemoved: 1, rowsAdded: 1 },
  ]
  await start({ 'POST /v1/replays/r1/undo': [{ ...applied, state: 'undone', undone }] })
  expect((await run(['replay', '--undo', 'r1'])).stdout).toContain('1,203 rows are back, 1,202 gone\n')
})

test('replays are listed and shown', async () => {
  await start({
    'GET /v1/replays': [{ replays: [applied] }, { replays: [applied] }, { replays: [] }],
    [toShow]: [previewed],
  })
  expect((await run(['replays'])).stdout).toMatch(/r1 +clean +\S+ +from 2026-\S+ +applied +1 +1,200 +2 +2026-11-27/)
  expect(JSON.parse((await run(['replays', '--json'])).stdout)).toEqual({ replays: [applied] })
  expect((await run(['replays'])).stdout).toBe('No stream was replayed yet.\n')
  expect((await run(['replays', 'r1'])).stdout).toContain('o-1: change\n')
})

test.each([
  [['replay']],
  [['replay', 'clean']],
  [['replay', 'clean', '--json']],
  [['replay', 'clean', '--undo', 'r1', '--yes']],
  [['replay', '--apply', 'r1', '--undo', 'r1']],
  [['replay', '--undo', 'r1', '--from', '2026-11-20']],
  [['replay', '--apply', 'r1', '--dry-run']],
  [['replay', 'clean', '--dry-run', '--yes']],
  [['replay', 'clean', '--dry-run', '--keep', 'long']],
])('%j is not understood, where nobody can be asked', async (args) => {
  await start({ [toPreview]: [previewed] })
  expect(await run(args)).toMatchObject({ code: 2 })
  expect(server.requests).toEqual([])
})
