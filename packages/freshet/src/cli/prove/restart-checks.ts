/** What is looked at after the run's own server was stopped: the same contents when it runs again, and whole files. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CliChild } from './child-process.ts'
import type { Door } from './door.ts'
import type { Check } from './facts.ts'
import type { OwnServer } from './own-server.ts'
import { marksOf } from './settle.ts'
import type { ProveStream } from './streams.ts'

const stopPatienceMs = 60_000

/** Stops the server in an orderly way, starts it again and compares; it is stopped again when this returns. */
export async function checkRestart(
  server: OwnServer,
  door: Door,
  streams: readonly ProveStream[],
  run: string,
): Promise<Check> {
  const name = 'After an orderly stop and a new start, all is as it was'
  const advice = 'Look at server.log in the folder of the run (--keep).'
  const marks = async (): Promise<string> =>
    JSON.stringify(await Promise.all(streams.map((stream) => marksOf(door, stream.name, run))))
  const before = await marks()
  if (!(await server.stop())) return { name, ok: false, detail: 'The server did not stop in an orderly way.', advice }
  await server.start()
  const after = await marks()
  await server.stop()
  if (before === after) return { name, ok: true, detail: 'The same events and ids at every site.' }
  return { name, ok: false, detail: `Before: ${before.slice(0, 300)}; after: ${after.slice(0, 300)}.`, advice }
}

/** Runs `freshet verify` over the data folder of the stopped server. */
export async function checkVerify(
  server: OwnServer,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Check> {
  const name = 'freshet verify finds every file whole'
  const outputFile = join(server.folder, 'verify.log')
  const verify = new CliChild(['verify', '--data-dir', server.dataDir], {
    cwd: server.folder,
    env: { ...env },
    outputFile,
  })
  try {
    const code = await verify.ended()
    if (code === 0) return { name, ok: true, detail: 'Log segments, data files, manifests and ledger agree.' }
    const said = readFileSync(outputFile, 'utf8').trim()
    return {
      name,
      ok: false,
      detail: `It ended with code ${code}: ${said.slice(-500)}`,
      advice: 'Run `freshet verify --data-dir FOLDER` on the folder of the run (--keep).',
    }
  } finally {
    if (verify.running) await verify.stop(stopPatienceMs)
  }
}
