/** The streams that can be posted to, each with what its events pass on their way in. */
import { reservedStreamNames, streamNamePattern, undeclaredStream, type Plan, type StreamPlan } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import { nearest } from '../config/spelling.ts'
import { letteredStream } from '../events/dead-letter.ts'
import { openDoor, type StreamDoor } from '../events/door.ts'

export interface StreamEntry {
  name: string
  declared: boolean
}

export class StreamDoors {
  readonly #doors = new Map<string, StreamDoor>()
  readonly #createsStreams: boolean
  readonly #nestingMax: number
  readonly #rollups: ReadonlySet<string>
  readonly #others = new Set<string>()

  /**
   * @param existing streams that have a log already, declared or not
   * @throws FreshetError `config_invalid` when a schema cannot be compiled
   */
  constructor(
    plan: Pick<Plan, 'streams' | 'mode' | 'limits'> & Partial<Pick<Plan, 'rollups'>>,
    existing: readonly string[] = [],
  ) {
    this.#createsStreams = plan.mode === 'dev'
    this.#rollups = new Set(Object.keys(plan.rollups ?? {}))
    this.#nestingMax = plan.limits.nestingMax
    for (const stream of Object.values(plan.streams)) this.#doors.set(stream.name, this.#open(stream, true))
    for (const name of existing) if (!this.#doors.has(name)) this.#others.add(name)
  }

  /** @throws FreshetError `invalid_request` for a name no stream can have, `unknown_stream` */
  find(name: string): StreamDoor {
    const door = this.#doors.get(name)
    if (door !== undefined) return postable(door)
    if (!streamNamePattern.test(name)) {
      throw new FreshetError(
        'invalid_request',
        `${JSON.stringify(name.slice(0, 100))} cannot be the name of a stream.`,
        {
          hint: 'A name starts with a lower-case letter; lower-case letters, digits and underscores follow, 63 characters at most.',
        },
      )
    }
    if (this.#rollups.has(name)) {
      throw new FreshetError('invalid_request', `"${name}" is a rollup: nothing is posted there.`, {
        hint: 'Post to the stream that it is made of.',
      })
    }
    const lettered = letteredStream(name)
    if (lettered !== undefined) {
      throw new FreshetError(
        'invalid_request',
        `"${name}" has the dead letters of ${lettered}: nothing is posted there.`,
        {
          hint: `Post to ${lettered}; its letters are sent again by a replay.`,
        },
      )
    }
    if (reservedStreamNames.includes(name)) {
      throw new FreshetError('invalid_request', `"${name}" is a reserved name.`, {
        hint: 'Choose another name for the stream.',
      })
    }
    if (this.#createsStreams) return this.#open(undeclaredStream(name), false)
    throw this.#unknown(name)
  }

  /** Keeps the door of a stream that was just created by its first batch. */
  keep(door: StreamDoor): void {
    if (!this.#doors.has(door.name)) this.#doors.set(door.name, door)
  }

  has(name: string): boolean {
    return this.#doors.has(name)
  }

  /** Every stream there is, sorted by name. */
  list(): StreamEntry[] {
    const entries = [...this.#doors.values()].map(({ name, declared }) => ({ name, declared }))
    for (const name of this.#others) if (!this.#doors.has(name)) entries.push({ name, declared: false })
    return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  #unknown(name: string): FreshetError {
    const names = [...this.#doors.keys()].toSorted()
    const near = nearest(name, names)
    const there = names.length === 0 ? 'No streams are declared.' : `There are: ${names.join(', ')}.`
    const hint =
      near === undefined
        ? 'Declare it in freshet.config.ts.'
        : `Did you mean "${near}"? Otherwise declare it in freshet.config.ts.`
    return new FreshetError('unknown_stream', `There is no stream "${name}". ${there}`, {
      hint,
      extra: { streams: names },
    })
  }

  #open(plan: StreamPlan, declared: boolean): StreamDoor {
    return openDoor(plan, this.#nestingMax, declared)
  }
}

/** @throws FreshetError `invalid_request` for a stream that a transform makes: its events follow from others alone */
function postable(door: StreamDoor): StreamDoor {
  const { transform } = door.plan
  if (transform === undefined) return door
  throw new FreshetError(
    'invalid_request',
    `"${door.name}" is made of the stream ${transform.from}: nothing is posted there.`,
    { hint: `Post to ${transform.from}.` },
  )
}
