/**
 * A worker on a simulated machine: the real runner and the real transform, whose function is run in this process, with the log's door of the
 * gateway that runs at the time.
 */
import type { Plan, StreamPlan } from '../../../src/config/plan.ts'
import { openDoor } from '../../../src/events/door.ts'
import { openFileLog } from '../../../src/log/file/file-log.ts'
import type { Log } from '../../../src/log/log.ts'
import type { Logger } from '../../../src/runtime/logging.ts'
import { ConsumerRecords } from '../../../src/streams/consumer-records.ts'
import { OutputLines } from '../../../src/streams/transforms/output-lines.ts'
import { BatchRunner } from '../../../src/streams/transforms/run-batch.ts'
import type { Functions } from '../../../src/streams/transforms/functions.ts'
import { Worker, type DerivedStream } from '../../../src/streams/worker.ts'
import { throughDoor, type GatewayHost } from './gateway-host.ts'
import { consumersDir, logDir, type MachineProcess } from './machine.ts'
import type { Plant } from './plant.ts'
import type { World } from './world.ts'

/** Whether the transform's function fails at an event. */
export const isPoison = (n: number): boolean => n % 7 === 3

export interface WorkerOptions {
  plan: Plan
  logger: Logger
  plant: Plant
  /** The gateway that runs now. */
  gateway: () => GatewayHost | undefined
}

/** Starts the consumers of the plan; they run until the process ends. */
export async function startWorker(process: MachineProcess, options: WorkerOptions): Promise<void> {
  const { logger, plant, gateway } = options
  const { clock, timers, machine } = process
  const plan = withOtherCode(options.plan, machine.world)
  const fileSystem = plant.workerFiles?.(process) ?? process
  const reader = await openFileLog({
    dir: logDir,
    mode: 'read',
    segmentBytes: plan.log.segmentBytes,
    diskFreeBytesMin: 0,
    fileSystem,
    clock,
    timers,
    logger,
  })
  const written: Log = {
    append: (stream, batch) => throughDoor(process, gateway(), (log) => log.append(stream, batch)),
    read: (...place) => reader.read(...place),
    ends: (stream) => reader.ends(stream),
    trim: () => Promise.reject(new Error('a worker trims nothing')),
    subscribe: (onGrowth) => reader.subscribe(onGrowth),
  }
  const log = plant.workerLog?.(written) ?? written
  const worker = new Worker({
    plan,
    log,
    records: new ConsumerRecords(consumersDir, fileSystem),
    backFill: {
      begin: async () => undefined,
      read: () => Promise.reject(new Error('there is nothing that was trimmed and is needed')),
      end: async () => undefined,
    },
    appendAll: async (stream, batches) => {
      for (const batch of batches) await log.append(stream, batch)
    },
    functionsOf: (stream) => functionsOf(stream, plan),
    openSink: () => {
      throw new Error('there are no sinks here')
    },
    fileSystem,
    clock,
    timers,
    random: machine.world.random,
    logger,
  })
  worker.start()
}

/** The code is another one now and then: what it makes is the same, and cannot be known to be. */
function withOtherCode(plan: Plan, world: World): Plan {
  const version = world.pick(['one', 'one', 'two'])
  const streams = Object.entries(plan.streams).map(([name, stream]): [string, StreamPlan] => [
    name,
    stream.transform === undefined ? stream : { ...stream, transform: { ...stream.transform, version } },
  ])
  return { ...plan, streams: Object.fromEntries(streams) }
}

function functionsOf(stream: DerivedStream, { limits }: Plan): Functions {
  const runner = new BatchRunner({
    kind: 'each',
    call: ({ n }: { n: number }) => {
      if (isPoison(n)) throw new Error(`${n} is poison`)
      return { id: `e${n}`, n }
    },
    lines: new OutputLines(openDoor(stream, limits.nestingMax, true), limits),
    timeoutMs: 1000,
    batchEventsMax: 1000,
    readObject: () => Promise.reject(new Error('there are no objects here')),
    atEvent: () => undefined,
  })
  return {
    run: ({ batch, runs }) => runner.run({ bytes: batch.bytes, runs, skip: batch.skip, leaveOut: new Set() }),
    close: async () => undefined,
  }
}
