/**
 * Sends dead letters again from where they failed, exactly once.
 *
 * Letters of the door and of loads are judged anew and appended to the log of their stream, batch by batch, under the mark of the replay
 * (`dead-replay:<id>` and a number). Letters of transforms and sinks are given to their consumer, which knows an input again by its id.
 * Those that fail again stay as they are.
 *
 * Crash points, for a batch:
 * - Before its record is durable nothing was appended.
 * - After that it may be in the log or not. The log tells: the batch is appended again under its mark, and is a repeat or was not there.
 *   A repeat has all letters that the record names; else it has those that pass now, which may be fewer, as the configuration can
 *   have changed between.
 * - After the append its letters are dropped; those that are gone already are no letters any more. Then the record goes on to the next.
 *
 * So a letter leaves its table only when its event is in the log, and its event is appended once: the mark keeps it from a second time,
 * however often the replay is resumed, and no other replay has the letter, since they take turns. That is all there is for streams whose ids
 * the gateway gives, whose ids are not looked up: the events keep the ids that they had.
 *
 * A load letter is sent again only once the position behind its event is committed: until then a crash would find the event again, and
 * write its letter a second time.
 */
import type { AppendBatch, Log } from '../../log/log.ts'
import type { Clock } from '../../runtime/clock.ts'
import { dropKeys, type DropDeps } from './drop-letters.ts'
import { eventTimeOf, LetterJudge, type Verdict } from './letter-judge.ts'
import type { LetterReader } from './letter-reader.ts'
import type { ReplayBatch, ReplayRecord } from './replay-record.ts'
import type { LetteredStream } from './lettered-stream.ts'
import type { LetterKey, StoredLetter } from './stored-letter.ts'

/** Gives inputs to a consumer again; what became of each. A dry run changes nothing. */
export type ReplayAtConsumer = (
  consumer: string,
  inputs: readonly string[],
  dryRun: boolean,
) => Promise<({ accepted: true } | { accepted: false; code: string; path?: string; message: string })[]>

export interface ReplayDeps extends DropDeps {
  reader: LetterReader
  log: Pick<Log, 'append'>
  clock: Clock
  plan: ConstructorParameters<typeof LetterJudge>[0]['plan']
  replayAtConsumer: ReplayAtConsumer | undefined
  save: (record: ReplayRecord) => Promise<void>
}

/** Letters that are looked at together. */
const roundLetters = 2000
const roundBytes = 16 * 1024 * 1024
const failuresMax = 100

/** Sends the letters of a record again until none is left. @throws whatever keeps it from going on; it can be resumed */
export async function replay(
  deps: ReplayDeps,
  stream: LetteredStream,
  record: ReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  while (record.batches.length > 0 || record.keys.length > 0) {
    signal.throwIfAborted()
    if (record.batches.length === 0) await begin(deps, stream, record, signal)
    await finish(deps, stream, record, signal)
  }
}

/** What would become of letters. */
export async function foresee(
  deps: Omit<ReplayDeps, 'save'>,
  stream: LetteredStream,
  keys: readonly LetterKey[],
  signal: AbortSignal,
  onVerdict: (letter: StoredLetter, verdict: Verdict) => void,
): Promise<void> {
  for (let from = 0; from < keys.length;) {
    const round = await roundOf(deps, stream, keys.slice(from, from + roundLetters), signal)
    from += round.length
    const letters = await deps.reader.read(stream.name, round, signal)
    for (const group of groupsOf(letters)) {
      const verdicts = await verdictsOf(deps, stream, group, true)
      group.letters.forEach((letter, index) => onVerdict(letter, verdicts[index]!))
    }
  }
}

/** The first of some letters that may be in memory together. */
async function roundOf(
  { reader }: Pick<ReplayDeps, 'reader'>,
  { name }: LetteredStream,
  keys: readonly LetterKey[],
  signal: AbortSignal,
): Promise<readonly LetterKey[]> {
  return keys.slice(0, await reader.fitting(name, keys, roundBytes, signal))
}

/** Takes the next letters from the record, and writes down which of them are about to be sent again. */
async function begin(
  deps: ReplayDeps,
  stream: LetteredStream,
  record: ReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  const keys = await roundOf(deps, stream, record.keys.slice(0, roundLetters), signal)
  const letters = await deps.reader.read(stream.name, keys, signal)
  const batches: ReplayBatch[] = []
  let { nextSequence } = record
  let failed = 0
  const failures = [...record.failures]
  for (const group of groupsOf(letters)) {
    // Consumers are asked once, when their batch is at hand.
    const verdicts = group.consumer === null ? await verdictsOf(deps, stream, group, false) : undefined
    const passed: LetterKey[] = []
    for (const [index, letter] of group.letters.entries()) {
      const verdict = verdicts?.[index]
      if (verdict === undefined || verdict.accepted) passed.push(letter.key)
      else {
        failed++
        failures.push(failureOf(letter, verdict))
      }
    }
    if (passed.length > 0) batches.push({ sequence: nextSequence++, source: group.source, keys: passed })
  }
  record.keys = record.keys.slice(keys.length)
  record.batches = batches
  record.nextSequence = nextSequence
  record.failed += failed
  record.failures = failures.slice(0, failuresMax)
  // Those that somebody has dropped meanwhile.
  record.letters -= keys.length - letters.length
  await deps.save(record)
}

/** Sends the batches that the record names, and drops their letters. */
async function finish(
  deps: ReplayDeps,
  stream: LetteredStream,
  record: ReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  const done: LetterKey[] = []
  let failed = 0
  const failures = [...record.failures]
  for (const batch of record.batches) {
    signal.throwIfAborted()
    const letters = await deps.reader.read(stream.name, batch.keys, signal)
    const [group] = groupsOf(letters)
    const verdicts = group === undefined ? [] : await verdictsOf(deps, stream, group, false)
    const isRepeat = group?.consumer != null ? false : await append(deps, stream, record, batch, verdicts)
    const ours = group?.letters ?? []
    const here = new Set(ours.map(({ key }) => key.join('\n')))
    done.push(...batch.keys.filter((key) => isRepeat || !here.has(key.join('\n'))))
    if (isRepeat) continue
    for (const [index, letter] of ours.entries()) {
      const verdict = verdicts[index]!
      if (verdict.accepted) done.push(letter.key)
      else {
        failed++
        failures.push(failureOf(letter, verdict))
      }
    }
  }
  const letters = stream.letters()
  if (letters !== undefined) await dropKeys(deps, letters, { id: record.id, keys: done }, signal)
  record.batches = []
  record.replayed += done.length
  record.failed += failed
  record.failures = failures.slice(0, failuresMax)
  await deps.save(record)
}

/** @returns whether the batch was in the log before: then all of its letters are */
async function append(
  { log, clock }: ReplayDeps,
  { name }: LetteredStream,
  { id }: ReplayRecord,
  { sequence, source }: ReplayBatch,
  verdicts: readonly Verdict[],
): Promise<boolean> {
  const lines = verdicts.flatMap((verdict) => (verdict.accepted ? [verdict.line] : []))
  const times = lines.map(eventTimeOf)
  const batch: AppendBatch = {
    lines: [Buffer.from(lines.join(''))],
    count: lines.length,
    receivedAtMs: lines.length > 0 ? Date.parse(receivedAtOf(lines[0]!)) : clock.nowMs(),
    producer: { id: `dead-replay:${id}`, sequence },
    ...(source !== null && { source }),
    ...(times.length > 0 && { eventTimeMaxMs: times.reduce((most, time) => Math.max(most, time), times[0]!) }),
  }
  return (await log.append(name, batch)).duplicate
}

function receivedAtOf(line: string): string {
  return /"_received_at":"([^"]*)"/.exec(line)![1]!
}

interface Group {
  /** null for letters of the door and of loads. */
  consumer: string | null
  source: string | null
  letters: StoredLetter[]
}

/** Letters that go the same way and have the same source, which a batch has one of. */
function groupsOf(letters: readonly StoredLetter[]): Group[] {
  const groups = new Map<string, Group>()
  for (const letter of letters) {
    const consumer = letter.stage === 'transform' || letter.stage === 'sink' ? (letter.consumer ?? letter.stage) : null
    const key = JSON.stringify([consumer, letter.source])
    const group = groups.get(key) ?? { consumer, source: letter.source, letters: [] }
    groups.set(key, group)
    group.letters.push(letter)
  }
  return [...groups.values()]
}

async function verdictsOf(
  deps: Omit<ReplayDeps, 'save'>,
  stream: LetteredStream,
  { consumer, letters }: Group,
  dryRun: boolean,
): Promise<Verdict[]> {
  if (consumer === null) {
    const judge = new LetterJudge({ ...deps, stream: stream.plan, unreadable: stream.unreadable })
    return judge.judge(letters, deps.clock.nowMs())
  }
  if (deps.replayAtConsumer === undefined) {
    const message = `${consumer} cannot be asked: there is no worker here`
    return letters.map(() => ({ accepted: false, code: 'worker_unavailable', path: '', message }))
  }
  const outcomes = await deps.replayAtConsumer(
    consumer,
    letters.map(({ event }) => event),
    dryRun,
  )
  return letters.map((_, index) => {
    const outcome = outcomes[index]
    if (outcome === undefined) throw new Error(`${consumer} said nothing of input ${index}`)
    return outcome.accepted ? { accepted: true, line: '' } : { ...outcome, path: outcome.path ?? '' }
  })
}

function failureOf(letter: StoredLetter, verdict: Verdict & { accepted: false }): ReplayRecord['failures'][number] {
  const { code, path, message } = verdict
  return { id: letter.key[0], code, path, message }
}
