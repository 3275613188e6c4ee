/**
 * The engine's scratch files are real, for DuckDB reads and writes them. Calls of node:fs/promises that concern a simulated process's
 * scratch folder become steps of its world here, done at once when they are let go; all other calls are left as they are.
 */
import fs, { promises } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import type { MachineProcess } from './machine.ts'

const owners = new Map<string, MachineProcess>()

/** From now on, calls on the process's scratch folder are its steps. */
export function adoptScratch(process: MachineProcess): void {
  install()
  owners.set(process.tmpDir, process)
  process.onEnd.push(() => owners.delete(process.tmpDir))
}

function ownerOf(path: unknown): MachineProcess | undefined {
  if (typeof path !== 'string') return undefined
  for (const [folder, process] of owners) if (path === folder || path.startsWith(`${folder}/`)) return process
  return undefined
}

let installed = false

function install(): void {
  if (installed) return
  installed = true
  const { writeFile, rm, mkdir, stat, readFile, readdir } = promises
  replace('writeFile', writeFile, (path, data) => fs.writeFileSync(path, joined(data)))
  replace('rm', rm, (path, options) => fs.rmSync(path, options as fs.RmOptions))
  replace('mkdir', mkdir, (path, options) => fs.mkdirSync(path, options as fs.MakeDirectoryOptions))
  replace('stat', stat, (path) => fs.statSync(path))
  replace('readFile', readFile, (path, options) => fs.readFileSync(path, options as BufferEncoding))
  replace('readdir', readdir, (path) => fs.readdirSync(path).toSorted())
  syncBuiltinESMExports()
}

function joined(data: unknown): Uint8Array | string {
  return Array.isArray(data) ? Buffer.concat(data as Uint8Array[]) : (data as Uint8Array | string)
}

function replace(
  name: 'writeFile' | 'rm' | 'mkdir' | 'stat' | 'readFile' | 'readdir',
  original: unknown,
  act: (path: string, argument: unknown) => unknown,
): void {
  const simulated = async (path: string, argument: unknown, ...rest: unknown[]): Promise<unknown> => {
    const process = ownerOf(path)
    if (process === undefined) return (original as (...args: unknown[]) => Promise<unknown>)(path, argument, ...rest)
    await process.machine.world.turn(process, name)
    return act(path, argument)
  }
  Object.assign(promises, { [name]: simulated })
}
