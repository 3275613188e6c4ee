/** How a table's position stands to the log, and what is in flight between the two. */
import type { LoadedTable } from '../../lake/catalog.ts'
import type { TableLedger } from '../../lake/ledger.ts'
import { hourMs } from '../../lake/ledger-rows.ts'
import { tablePositions } from '../../lake/metadata.ts'
import { compareAccepted, type SourceHour } from '../../engine/verify/ledger.ts'
import { eachFrame, type FrameRange } from '../../log/file/each-frame.ts'
import type { FrameHeader } from '../../log/file/frame.ts'
import { damage } from '../../log/file/recovery.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { problemsIn, type Finding } from '../../runtime/finding.ts'

export interface PositionOptions {
  fileSystem: FileSystem
  logDir: string
  stream: string
  /** undefined for a stream that nothing was committed of. */
  table: LoadedTable | undefined
  /** The ledger of that table, if it has one. */
  ledger: TableLedger | undefined
  /** What the check of the log has found. */
  known: readonly Finding[]
}

export interface PositionCheck {
  inFlight: { events: number; bytes: number }
  findings: Finding[]
  /** True when the log was trimmed meanwhile: the table has moved on, and this says nothing. */
  trimmed: boolean
}

const partition = 0

/**
 * Checks that the log holds everything from the table's position on (I7) and counts what is there (in flight); and where the log still
 * holds all that the ledger counts as accepted, compares the two. What it finds counts only when the table has not moved since.
 */
export async function verifyPosition(options: PositionOptions): Promise<PositionCheck> {
  const { fileSystem, logDir, stream, table, ledger, known } = options
  const position = table === undefined ? 0 : Number(tablePositions(table.metadata).get(partition) ?? 0n)
  const begun = ledger && Number(ledger.begun.positions.get(partition) ?? 0n)
  const counts = new Counts(position)
  let whole = false
  const range = await eachFrame({
    fileSystem,
    logDir,
    stream,
    partition,
    from: (start) => {
      whole = begun !== undefined && start <= begun
      return whole ? begun! : Math.max(start, position)
    },
    onFrame: (header, start, end) => counts.add(header, start, end),
  })
  const findings = [...positionProblems(stream, position, range, counts.across), ...newDamage(stream, range, known)]
  const complete = range.problems.length === 0 && !range.trimmed
  if (whole && complete && findings.length === 0) findings.push(...compareAccepted(stream, ledger!, counts.accepted()))
  return { inFlight: counts.inFlight, findings, trimmed: range.trimmed }
}

/** Adds up frames below and behind a position. */
class Counts {
  readonly inFlight = { events: 0, bytes: 0 }
  /** Where a frame starts that the position lies in the middle of. */
  across: number | undefined
  readonly #position: number
  readonly #accepted = new Map<string, SourceHour>()

  constructor(position: number) {
    this.#position = position
  }

  add(header: FrameHeader, start: number, end: number): void {
    const { count, at } = header
    if (start >= this.#position) {
      this.inFlight.events += count
      this.inFlight.bytes += end - start
      return
    }
    if (end > this.#position) this.across = start
    if (count === 0) return
    const source = header.source ?? null
    const hour = Math.floor(at / hourMs)
    const key = JSON.stringify([source, hour])
    const known = this.#accepted.get(key)
    if (known === undefined) this.#accepted.set(key, { source, hour, count })
    else known.count += count
  }

  accepted(): SourceHour[] {
    return [...this.#accepted.values()]
  }
}

function positionProblems(
  stream: string,
  position: number,
  { start, end, heldTo }: FrameRange,
  across: number | undefined,
): Finding[] {
  const problem = (what: string, mend: string): Finding[] => [
    { severity: 'problem', check: 'position', stream, what, mend },
  ]
  // After power loss the published end may be behind what is durable; then the bytes are there.
  if (position > Math.max(end, heldTo)) {
    return problem(
      `The table ${stream} holds the log up to position ${position}, but the log ends at ${Math.max(end, heldTo)}: it was deleted or replaced.`,
      'Restore the log folder from a copy, or move the table away and load the stream from the start.',
    )
  }
  if (start !== undefined && position < start) {
    return problem(
      `The table ${stream} holds the log up to position ${position}, but the log begins at ${start}: what lies between was never loaded.`,
      `Restore the segments before position ${start} from a copy.`,
    )
  }
  if (across === undefined) return []
  return problem(
    `The table ${stream} holds the log up to position ${position}, which is in the middle of the batch at ${across}.`,
    'The log was replaced by another one: restore it, or move the table away and load the stream from the start.',
  )
}

/** Bad places in segments that the check of the log found in order: where a position leads to a place that no batch begins at. */
function newDamage(stream: string, { problems }: FrameRange, known: readonly Finding[]): Finding[] {
  const damaged = new Set(problemsIn(known).map(({ file }) => file))
  return problems
    .filter(({ file }) => !damaged.has(file))
    .map(({ file, offset, reason }) => {
      const { message, hint } = damage(file, offset, reason)
      return { severity: 'problem', check: 'position', stream, file, offset, what: message, mend: hint! }
    })
}
