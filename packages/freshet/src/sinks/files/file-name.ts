/**
 * Names of files, with places: of what is the same for all events of a file (`{stream}`, `{sequence}`, `{from}`, ...), and of what
 * may differ (`{date}`, `{fields.customer}`), by which events are put into different files. Values are written so that no event
 * can name a file outside of the folder: every character that is not plain is written as `%XX`.
 */
import { createHash } from 'node:crypto'
import { textOf, valueAt } from '../event-fields.ts'
import { readTemplate, type TemplatePart } from '../text-template.ts'

/** Places that events differ by, and what part of the time's text they are. */
const timePlaces: ReadonlyMap<string, readonly [number, number]> = new Map([
  ['date', [0, 10]],
  ['year', [0, 4]],
  ['month', [5, 7]],
  ['day', [8, 10]],
  ['hour', [11, 13]],
])

const filePlaces = ['stream', 'sink', 'sequence', 'from', 'to', 'count', 'ext']
const fieldsPrefix = 'fields.'

/** Longest part of a path, in bytes; with a marker's ending it stays below what disks take. */
const partBytesMax = 200
const valueCharactersMax = 100

/** What is wrong with a template of names. */
export function nameMistake(template: string): string | undefined {
  const parts = readTemplate(template)
  if ('reason' in parts) return parts.reason
  for (const part of parts) {
    if ('words' in part || timePlaces.has(part.path) || filePlaces.includes(part.path)) continue
    if (part.path.startsWith(fieldsPrefix) && part.path.length > fieldsPrefix.length) continue
    const known = [...filePlaces, ...timePlaces.keys()].map((place) => `{${place}}`).join(', ')
    return `has the unknown place {${part.path}} (known: ${known}, and {fields.NAME} for a value of the event)`
  }
  const path = parts.map((part) => ('words' in part ? part.words : 'x')).join('')
  if (/[\0\\:]/.test(path)) return 'must not have backslashes or colons: folders are divided by "/"'
  if (path.split('/').some((one) => one === '' || one.startsWith('.')))
    return 'must be a path within the folder, without empty parts and without parts that begin with "."'
  return undefined
}

export interface NamedEvent {
  /** The time by which files are named, as stored. */
  time: string
  fields: Record<string, unknown>
}

export interface FileFacts {
  stream: string
  sink: string
  sequence: number
  /** Earliest and latest of the events' times. */
  from: string
  to: string
  count: number
  ext: string
}

export class FileNames {
  readonly #parts: readonly TemplatePart[]
  readonly #pathBytesMax: number

  /** @param pathBytesMax longest path, without what is the same for all events of a file */
  constructor(template: string, pathBytesMax = Number.POSITIVE_INFINITY) {
    const parts = readTemplate(template)
    if ('reason' in parts) throw new Error(`The \`name\` of the sink ${parts.reason}.`)
    this.#parts = parts
    this.#pathBytesMax = pathBytesMax
  }

  /**
   * The places of an event, filled: events with the same ones go into the same file. The text is a template without them.
   * @returns a reason when no file can have such a name
   */
  groupOf(event: NamedEvent): string | { reason: string } {
    const group = this.#parts
      .map((part) => {
        if ('words' in part) return part.words.replaceAll('{', '{{').replaceAll('}', '}}')
        const slice = timePlaces.get(part.path)
        if (slice !== undefined) return event.time.slice(...slice)
        if (!part.path.startsWith(fieldsPrefix)) return `{${part.path}}`
        return safeText(textOf(valueAt(event.fields, part.path.slice(fieldsPrefix.length))))
      })
      .join('')
    if (group.split('/').some((one) => Buffer.byteLength(one) > partBytesMax))
      return { reason: `Its file would have a name of more than ${partBytesMax} bytes.` }
    return Buffer.byteLength(group) <= this.#pathBytesMax
      ? group
      : { reason: `Its file would have a path of more than ${this.#pathBytesMax} bytes.` }
  }

  /** The path of a file of one group, below the folder. */
  nameOf(group: string, facts: FileFacts): string {
    const parts = readTemplate(group)
    if ('reason' in parts) throw new Error(`The group ${JSON.stringify(group)} is no template.`)
    const filled: Readonly<Record<string, string>> = {
      stream: facts.stream,
      sink: facts.sink,
      sequence: String(facts.sequence).padStart(8, '0'),
      from: compact(facts.from),
      to: compact(facts.to),
      count: String(facts.count),
      ext: facts.ext,
    }
    return parts.map((part) => ('words' in part ? part.words : (filled[part.path] ?? ''))).join('')
  }
}

/** `2026-11-20T20:29:00.123Z` as `20261120T202900.123Z`. */
function compact(time: string): string {
  return time.replaceAll(/[-:]/g, '')
}

/** A value as part of a file's name. Different values stay different. */
function safeText(text: string): string {
  if (text === '') return '_'
  const encoded = [...Buffer.from(text)]
    .map((byte, index) => {
      const letter = String.fromCharCode(byte)
      return /[\w@+=-]/.test(letter) || (letter === '.' && index > 0)
        ? letter
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
    })
    .join('')
  if (encoded === '_') return '%5F'
  if (encoded.length <= valueCharactersMax) return encoded
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16)
  return `${encoded.slice(0, valueCharactersMax - 17)}~${hash}`
}
