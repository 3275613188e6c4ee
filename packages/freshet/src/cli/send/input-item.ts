/** One event as it will be sent: JSON text without line breaks. */
interface InputEvent {
  kind: 'event'
  /** Line of the file that it starts on, from 1. */
  line: number
  json: Buffer
}

/** A piece of input that is no event. The rest of the file is still read, unless `fatal`. */
export interface BrokenInput {
  kind: 'broken'
  line: number
  code: 'invalid_csv' | 'invalid_json' | 'event_too_large'
  /** JSON pointer of the field, where there is one. */
  path: string | null
  reason: string
  /** The input as it stands in the file, for the rejects file; shortened when it is very large. */
  raw: Buffer
  fatal: boolean
}

export type InputItem = InputEvent | BrokenInput

/** Longest line, CSV record or JSON value that is read into memory, bytes; far above what a server takes as one event. */
export const itemBytesMax = 16 * 1024 * 1024
