/** How the events of objects reach their streams' logs: through the same door as events that are posted. */
import type { BucketPlan } from '../config/plan.ts'
import type { Announce } from '../objects/announcer.ts'
import { objectEvent, type ObjectVersion } from '../objects/object-event.ts'
import { FreshetError } from '../runtime/errors.ts'
import { batchColumns, type BatchColumns } from '../events/system-columns.ts'
import type { StreamDoor } from '../events/door.ts'
import type { GatewayContext } from './context.ts'
import { append } from './routes/ingest.ts'

export function objectAnnouncer(context: GatewayContext): Announce {
  const doorOf = ({ bucket }: ObjectVersion): StreamDoor => {
    const { stream } = context.plan.buckets[bucket] as BucketPlan
    return context.doors.find(stream)
  }
  const columnsOf = ({ source }: ObjectVersion): BatchColumns =>
    batchColumns(context.arrival, context.ids, source ?? undefined)

  return {
    check(object) {
      const door = doorOf(object)
      const event: Record<string, unknown> = { ...objectEvent(object) }
      const fault = door.validate(event)
      if (fault !== undefined) throw refused(door, `${fault.path || 'it'} ${fault.reason}`)
      const line = lineOf(object, door, columnsOf(object))
      const { eventBytesMax } = context.plan.limits
      if (line.length > eventBytesMax) throw refused(door, `it has more than ${eventBytesMax} bytes`)
    },
    async send(object, mark) {
      const door = doorOf(object)
      const columns = columnsOf(object)
      const lines = [lineOf(object, door, columns)]
      await append(context, door, {
        lines,
        count: 1,
        receivedAtMs: columns.receivedAtMs,
        eventTimeMaxMs: Date.parse(columns.eventTimeMax),
        ...(object.source !== null && { source: object.source }),
        producer: mark,
      })
    },
  }
}

/** The stored line. A schema that has changed since the object was put does not hold it back: the event is told as it was. */
function lineOf(object: ObjectVersion, door: StreamDoor, columns: BatchColumns): Buffer {
  const event: Record<string, unknown> = { ...objectEvent(object) }
  const raw = JSON.stringify(event)
  const head = door.columns.head(event, raw, 0, columns)
  if (typeof head !== 'string') throw refused(door, `${head.path} ${head.reason}`)
  const text = door.decimals?.(raw) ?? raw
  if (typeof text !== 'string') throw refused(door, `${text.path} ${text.reason}`)
  return Buffer.from(`${head}${text.slice(1)}\n`)
}

function refused(door: StreamDoor, reason: string): FreshetError {
  return new FreshetError(
    'schema_violation',
    `The stream "${door.name}" does not take the event of this object: ${reason}.`,
    {
      hint: 'Change the schema of the stream, or the key or metadata of the object.',
    },
  )
}
