/** What is in a file: the bytes for its events, in each format. */
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip, zstdCompress } from 'node:zlib'
import { systemColumns } from '../../config/plan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { exactFields, plainEvent } from '../event-fields.ts'
import type { SinkDeps, SinkEvent } from '../sink.ts'
import { csvRows, fixedRows, type RowWriter } from './rows.ts'
import type { FileColumn, FilesOptions } from './settings.ts'
import { writeWhole } from './state.ts'

/** What a template is told of its file. */
interface FileAbout {
  /** Its path below the folder. */
  name: string
  sequence: number
}

export interface FileContent {
  /** What names of such files end in. */
  extension: string
  /** Why an event can be in no file; undefined when it can. */
  refusal(event: SinkEvent): string | undefined
  /** Writes a file; its bytes are durable when it resolves, its name is not yet. */
  write(events: readonly SinkEvent[], path: string, about: FileAbout): Promise<void>
}

const packers = {
  gzip: { ending: '.gz', pack: promisify(gzip) as (bytes: Uint8Array) => Promise<Buffer> },
  zstd: { ending: '.zst', pack: promisify(zstdCompress) as (bytes: Uint8Array) => Promise<Buffer> },
}

/** @param scratch folder for files that are needed for a moment */
export function fileContent(deps: SinkDeps, scratch: string): FileContent {
  const options = deps.plan.options as unknown as FilesOptions
  const { compress, encoding, fileSystem } = { ...options, fileSystem: deps.fileSystem }
  const ending = compress === undefined ? '' : packers[compress].ending
  const written = async (bytes: Uint8Array, path: string): Promise<void> =>
    writeWhole(fileSystem, path, compress === undefined ? bytes : await packers[compress].pack(bytes))
  const ofText = (extension: string, textFor: (events: readonly SinkEvent[]) => string): FileContent => ({
    extension: `${options.extension ?? extension}${ending}`,
    refusal: () => undefined,
    write: (events, path) => written(Buffer.from(textFor(events), encoding), path),
  })
  const ofRows = (extension: string, rows: RowWriter): FileContent => ({
    ...ofText(extension, (events) => rows.header + events.map((event) => rowOf(rows, event)).join('')),
    refusal: (event) => {
      const row = rows.row(exactFields(event))
      return typeof row === 'string' ? undefined : row.reason
    },
  })

  if (deps.plan.functions.includes('template')) {
    return {
      ...ofText('txt', () => ''),
      write: async (events, path, about) => {
        const made = await deps.call('template', [events.map(plainEvent), about])
        if (typeof made !== 'string' && !(made instanceof Uint8Array))
          throw new Error(`The function \`template\` of the sink ${deps.plan.name} must return text or bytes.`)
        await written(typeof made === 'string' ? Buffer.from(made, encoding) : made, path)
      },
    }
  }
  switch (options.format ?? 'ndjson') {
    case 'ndjson':
      return ofText('ndjson', (events) => events.map(({ text }) => `${text}${options.newline ?? '\n'}`).join(''))
    case 'csv':
      return ofRows('csv', csvRows({ ...options, columns: options.columns ?? declaredColumns(deps) }))
    case 'fixed':
      return ofRows('txt', fixedRows({ ...options, columns: options.columns! }))
    case 'parquet':
      return { ...ofText('parquet', () => ''), write: (events, path) => writeParquet(deps, { scratch, events, path }) }
  }
}

function rowOf(rows: RowWriter, event: SinkEvent): string {
  const row = rows.row(exactFields(event))
  // Its events were looked at when they were taken, but perhaps under other settings.
  if (typeof row === 'object') throw new Error(`The event ${event.id} does not fit its file: ${row.reason}`)
  return row
}

/** The stream's own columns, all of them. */
function declaredColumns({ plan, columns }: SinkDeps): FileColumn[] {
  if (columns !== null) return columns.map(({ name }) => ({ field: name, name }))
  throw new FreshetError(
    'sink_target_unusable',
    `The sink ${plan.name} writes CSV of ${plan.from}, a stream without a schema: it does not know which columns.`,
    { hint: 'Say which `columns` it is to have.' },
  )
}

async function writeParquet(
  deps: SinkDeps,
  { scratch, events, path }: { scratch: string; events: readonly SinkEvent[]; path: string },
): Promise<void> {
  const { parquet, columns, fileSystem, plan } = deps
  if (parquet === undefined) throw new Error(`The sink ${plan.name} cannot write Parquet in this process.`)
  const rows = join(scratch, 'rows.ndjson')
  await writeWhole(fileSystem, rows, Buffer.from(events.map(({ text }) => `${text}\n`).join('')))
  await fileSystem.remove(path)
  await parquet(rows, columns === null ? null : [...systemColumns, ...columns], path)
  const file = await fileSystem.open(path, 'write')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
  await fileSystem.remove(rows)
}
