/** What every sink keeps to, whatever its target. Run by the tests of each kind, which bring a target. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EventsRefused, type Sink, type SinkEvent } from '../../src/sinks/sink.ts'
import { sinkEvent } from '../support/sink-lab.ts'

/** A target and a way to look at it. */
export interface SinkTarget {
  /** Opens a sink to the target; several may be open. */
  open(): Promise<Sink>
  /** Ids of the events that the target has, in order where it keeps one. */
  ids(): Promise<string[]>
  /** An event that the target never takes; left out: it takes every one. */
  unfit?: SinkEvent
  close(): Promise<void>
}

export interface SinkTraits {
  /** Whether the target keeps the checkpoint, so that an event is never there twice. */
  keepsCheckpoint: boolean
}

/** Fields `id` and `n` are all that events of the suite have. */
const events = (first: number, count: number): SinkEvent[] =>
  Array.from({ length: count }, (_, at) => sinkEvent(`e${first + at}`, { id: `e${first + at}`, n: first + at }))

export function sinkSuite(name: string, make: () => Promise<SinkTarget>, { keepsCheckpoint }: SinkTraits): void {
  describe(`${name}, as a sink`, () => {
    let target: SinkTarget
    let sinks: Sink[]

    beforeEach(async () => {
      target = await make()
      sinks = []
    })

    afterEach(async () => {
      await Promise.all(sinks.map((sink) => sink.close()))
      await target.close()
    })

    async function open(): Promise<Sink> {
      const sink = await target.open()
      sinks.push(sink)
      return sink
    }

    async function idsSorted(): Promise<string[]> {
      return (await target.ids()).toSorted()
    }

    test('delivers each event of a batch once, and of the batches behind it', async () => {
      const sink = await open()
      await sink.deliver(events(0, 3), 'a')
      await sink.deliver(events(3, 2), 'b')
      expect(await idsSorted()).toEqual(['e0', 'e1', 'e2', 'e3', 'e4'])
    })

    test('takes an empty batch', async () => {
      const sink = await open()
      await sink.deliver([], 'a')
      expect(await target.ids()).toEqual([])
    })

    test('goes on where it was after it was closed', async () => {
      const first = await open()
      await first.deliver(events(0, 2), 'a')
      await first.close()
      const second = await open()
      expect(await second.checkpoint()).toBe(keepsCheckpoint ? 'a' : undefined)
      await second.deliver(events(2, 2), 'b')
      expect(await idsSorted()).toEqual(['e0', 'e1', 'e2', 'e3'])
    })

    test('may be closed twice', async () => {
      const sink = await open()
      await sink.close()
      await expect(sink.close()).resolves.toBeUndefined()
    })

    test('refuses an event that the target never takes, and takes the others without it', async ({ skip }) => {
      const { unfit } = target
      if (unfit === undefined) return skip('the target takes every event')
      const sink = await open()
      const batch = events(0, 2)
      await expect(sink.deliver([batch[0]!, unfit, batch[1]!], 'a')).rejects.toBeInstanceOf(EventsRefused)
      await sink.deliver(batch, 'a')
      expect(await idsSorted()).toEqual(['e0', 'e1'])
    })

    if (!keepsCheckpoint) return

    test('has the checkpoint of the last batch, and none at first', async () => {
      const sink = await open()
      expect(await sink.checkpoint()).toBe('')
      await sink.deliver(events(0, 1), 'a')
      await sink.deliver([], 'b')
      expect(await sink.checkpoint()).toBe('b')
    })

    test('leaves nothing of a batch that was refused', async ({ skip }) => {
      const { unfit } = target
      if (unfit === undefined) return skip('the target takes every event')
      const sink = await open()
      await sink.deliver(events(0, 1), 'a')
      await expect(sink.deliver([...events(1, 1), unfit], 'b')).rejects.toBeInstanceOf(EventsRefused)
      expect(await target.ids()).toEqual(['e0'])
      expect(await sink.checkpoint()).toBe('a')
    })

    test('of two workers lets only the one on that saw the last checkpoint', async () => {
      const old = await open()
      const young = await open()
      await young.deliver(events(0, 1), 'a')
      await expect(old.deliver(events(0, 1), 'a')).rejects.toMatchObject({ retryable: true })
      await expect(old.deliver(events(0, 1), 'a')).rejects.toMatchObject({ retryable: true })
      expect(await target.ids()).toEqual(['e0'])
      expect(await old.checkpoint()).toBe('a')
      await old.deliver(events(1, 1), 'b')
      await expect(young.deliver(events(1, 1), 'b')).rejects.toMatchObject({ retryable: true })
      expect(await idsSorted()).toEqual(['e0', 'e1'])
    })
  })
}
