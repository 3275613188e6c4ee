/** Fetches an object to standard output, or to a file that appears only when it is whole. */
import { createHash, randomBytes } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { FreshetError } from '../../runtime/errors.ts'
import { problemError, unreachable, type Client, type ClientResponse } from '../client.ts'
import { writeOut, type CliContext } from '../context.ts'
import { objectPath } from './object-paths.ts'

export interface GetWishes {
  bucket: string
  key: string
  version?: string | undefined
  /** A file, or a folder that it gets its name in; undefined for standard output. */
  output?: string | undefined
}

/** @returns the file that was written, if one was. @throws FreshetError what the server refuses, or `checksum_mismatch` */
export async function getObject(client: Client, wishes: GetWishes, context: CliContext): Promise<string | undefined> {
  const { bucket, key, version, output } = wishes
  const path = objectPath(bucket, key, version === undefined ? {} : { version })
  const response = await client.send({ method: 'GET', path })
  if (response.status !== 200) throw problemError(client.url, response, await client.readText(response))
  if (output === undefined) {
    await copy(client, response, (piece) => writeOut(context.stdout, piece))
    return undefined
  }
  const file = await fileOf(resolve(context.cwd, output), key)
  const aside = `${file}.${randomBytes(6).toString('hex')}.part`
  try {
    const handle = await open(aside, 'wx')
    try {
      await copy(client, response, async (piece) => void (await handle.write(piece)))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(aside, file)
    return file
  } finally {
    await rm(aside, { force: true })
  }
}

async function copy(client: Client, response: ClientResponse, write: (piece: Buffer) => Promise<void>): Promise<void> {
  const hash = createHash('sha256')
  for await (const piece of pieces(client, response)) {
    hash.update(piece)
    await write(piece)
  }
  const expected = response.headers['x-freshet-sha256']
  if (hash.digest('hex') === expected) return
  throw new FreshetError('checksum_mismatch', 'The bytes that came are not those of the object.', {
    hint: 'Fetch it again.',
  })
}

async function* pieces(client: Client, { body }: ClientResponse): AsyncGenerator<Buffer> {
  const iterator = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  for (;;) {
    const { done, value } = await iterator.next().catch((error: unknown) => {
      throw unreachable(client.url, error)
    })
    if (done === true) return
    yield value
  }
}

async function fileOf(path: string, key: string): Promise<string> {
  const stats = await stat(path).catch(() => undefined)
  return stats?.isDirectory() === true ? join(path, basename(key)) : path
}
