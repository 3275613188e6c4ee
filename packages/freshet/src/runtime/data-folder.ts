import { dirname, join } from 'node:path'
import { FreshetError, messageOf, systemCodeOf } from './errors.ts'
import type { FileSystem } from './file-system.ts'
import { systemRandom } from './random.ts'

/** The version of the data folder's layout that this build reads and writes; a change that old builds would misread raises it. */
const dataFolderFormat = 1

const formatFile = 'freshet.json'

/** The places in a data folder, absolute. */
export interface DataFolder {
  logDir: string
  lakeDir: string
  /** The site registry. */
  sitesDir: string
  /** Scratch of the engine; emptied at its start. */
  tmpDir: string
  /** Scratch of the worker. */
  workerTmpDir: string
  /** What can be made again, at a cost. */
  cacheDir: string
  /** What is known of erasures. */
  erasuresDir: string
  /** How far consumers are. */
  consumersDir: string
  /** What sinks keep that have no other place for it, a folder each. */
  sinksDir: string
  /** What is known of replays of dead letters. */
  letterReplaysDir: string
  /** What is known of replays of streams. */
  replaysDir: string
  /** Objects of buckets, and the index of their keys. */
  objectsDir: string
  /** Sockets of the running server. */
  runDir: string
}

/**
 * Creates the data folder where it does not exist, and checks that this build may use it. Safe to call from several processes at
 * once, and again after a crash at any point.
 * @throws FreshetError `data_folder_newer`, `data_folder_unusable`
 */
export async function openDataFolder(options: {
  dataDir: string
  version: string
  fileSystem: FileSystem
}): Promise<DataFolder> {
  const { dataDir, version, fileSystem } = options
  const at = (name: string): string => join(dataDir, name)
  const folder = dataFolderAt(dataDir)
  try {
    await fileSystem.makeDir(dataDir)
    const written = await readFormat(fileSystem, at(formatFile))
    if (written === undefined) await writeFormat(fileSystem, at(formatFile), version)
    else checkFormat(written, dataDir)
    for (const path of [at('lock'), ...Object.values<string>({ ...folder })]) await fileSystem.makeDir(path)
  } catch (error) {
    if (error instanceof FreshetError) throw error
    throw new FreshetError('data_folder_unusable', `The data folder ${dataDir} cannot be used: ${messageOf(error)}.`, {
      hint: 'Check that the path is a folder on a disk with free space, and that this user may write there.',
      cause: error,
    })
  }
  return folder
}

/** Where things are in the data folder at `dataDir`; nothing is made or looked at. */
export function dataFolderAt(dataDir: string): DataFolder {
  const at = (name: string): string => join(dataDir, name)
  return {
    logDir: at('log'),
    lakeDir: at('lake'),
    sitesDir: at('sites'),
    tmpDir: at('tmp'),
    workerTmpDir: at('tmp-worker'),
    cacheDir: at('cache'),
    erasuresDir: at('erasures'),
    consumersDir: at('consumers'),
    sinksDir: at('sinks'),
    letterReplaysDir: at('letter-replays'),
    replaysDir: at('replays'),
    objectsDir: at('objects'),
    runDir: at('run'),
  }
}

/**
 * The version of a data folder's layout, for a reader that changes nothing; undefined where none is written.
 * @throws FreshetError `data_folder_newer`, or `data_folder_unusable` when what is written cannot be read
 */
export async function readDataFolderFormat(dataDir: string, fileSystem: FileSystem): Promise<number | undefined> {
  const written = await readFormat(fileSystem, join(dataDir, formatFile))
  if (written !== undefined) checkFormat(written, dataDir)
  return written?.format
}

interface Format {
  format: number
  createdBy: string
}

async function readFormat(fileSystem: FileSystem, file: string): Promise<Format | undefined> {
  let text: string
  try {
    text = (await fileSystem.readFile(file)).toString()
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
  const parsed = parseFormat(text)
  if (parsed === undefined) {
    throw new FreshetError('data_folder_unusable', `${file} is damaged: it holds no data folder format.`, {
      hint: `If the folder was made by this version, restore the file's content: {"format":${dataFolderFormat}}.`,
    })
  }
  return parsed
}

function parseFormat(text: string): Format | undefined {
  try {
    const { format, createdBy } = JSON.parse(text) as Partial<Format>
    if (typeof format !== 'number' || !Number.isSafeInteger(format) || format < 1) return undefined
    return { format, createdBy: typeof createdBy === 'string' ? createdBy : 'an unknown version' }
  } catch {
    return undefined
  }
}

/** Written aside and renamed into place, so that a crash leaves either no file or a whole one. */
async function writeFormat(fileSystem: FileSystem, file: string, version: string): Promise<void> {
  const text = JSON.stringify({ format: dataFolderFormat, createdBy: `freshet ${version}` } satisfies Format)
  const aside = `${file}.${systemRandom.hex(8)}.tmp`
  const handle = await fileSystem.open(aside, 'create')
  try {
    await handle.write([Buffer.from(`${text}\n`)], 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await fileSystem.rename(aside, file)
  await fileSystem.syncDir(dirname(file))
}

function checkFormat(written: Format, dataDir: string): void {
  if (written.format <= dataFolderFormat) return
  throw new FreshetError(
    'data_folder_newer',
    `The data folder ${dataDir} has format ${written.format}, created by ${written.createdBy}; ` +
      `this version reads up to format ${dataFolderFormat}.`,
    { hint: 'Use that version of Freshet or a newer one, or another data folder (--data-dir).' },
  )
}
