/**
 * The simulated machine: one disk, one wall clock, and processes on it. A process sees the disk through its own file system, the
 * time through its own timers, and does nothing any more once it was killed or the power was cut.
 *
 * DuckDB needs real files, so two kinds of paths are real as well: what it writes to a process's scratch folder is taken over into
 * the simulated disk when it is first named there (as bytes that were not synced), and the lake's data files are mirrored to a real
 * folder that it reads. After a power cut the mirror is made anew from what survived.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from '../../../src/runtime/clock.ts'
import type { FileHandle, FileSystem, FolderEntry } from '../../../src/runtime/file-system.ts'
import type { Timers } from '../../../src/runtime/timers.ts'
import { SimulatedFile } from '../simulated-file.ts'
import { SimulatedFolder } from '../simulated-folder.ts'
import { SimulatedDisk, type Call, type Fate, type SimulatedProcess } from '../simulated-file-system.ts'
import { epochMs, type Owner, type World } from './world.ts'

export const logDir = '/data/log'
export const lakeDir = '/data/lake'
export const erasuresDir = '/data/erasures'
export const letterReplaysDir = '/data/letter-replays'
export const consumersDir = '/data/consumers'

/** Decides what befalls a process's call. */
export type Interference = (process: MachineProcess, call: Call, path: string) => Fate

const never = new Promise<never>(() => {})

export class Machine {
  readonly world: World
  readonly disk: SimulatedDisk
  /** Real folder that DuckDB reads data files from. */
  readonly mirrorDir: string
  readonly realDir: string
  interference: Interference = () => 'goes on'
  /** Called before a file is removed. */
  beforeRemove: (process: MachineProcess, path: string) => Promise<void> = async () => {}
  /** Called after a file got a second name. */
  afterLink: (process: MachineProcess, path: string) => Promise<void> = async () => {}
  /** How long the disk takes over a sync at most. */
  syncMsMax = 0
  /** How far the wall clock has been moved. */
  movedMs = 0
  #processes: MachineProcess[] = []
  #started = 0

  constructor(world: World, realDir: string) {
    this.world = world
    this.realDir = realDir
    world.realDir = realDir
    this.mirrorDir = join(realDir, 'lake')
    mkdirSync(this.mirrorDir, { recursive: true })
    this.disk = new SimulatedDisk(world.random, {
      wait: async (process, call, path) => {
        const owner = this.#ownerOf(process)
        if (call === 'sync' && this.syncMsMax > 0)
          await world.sleep(owner, 'disk', world.random.integer(this.syncMsMax))
        await world.turn(owner, `${call} ${path}`)
      },
      ended: () => never,
    })
    this.disk.nowMs = () => this.nowMs()
  }

  /** What the wall clock says. */
  nowMs(): number {
    return Math.floor(epochMs + this.world.elapsedMs + this.movedMs)
  }

  get processes(): readonly MachineProcess[] {
    return this.#processes
  }

  start(role: string): MachineProcess {
    const process = new MachineProcess(this, role, ++this.#started, (call, path) =>
      this.interference(process, call, path),
    )
    this.#processes.push(process)
    return process
  }

  /** Lets everything go that was not synced, by chance. */
  powerCut(): void {
    for (const process of this.#processes) process.end()
    this.#processes = []
    this.disk.powerCut()
    this.world.sweep()
    this.#mirrorAll()
  }

  /** Ends all processes, so that nothing of them is left running. */
  endAll(): void {
    for (const process of this.#processes) process.end()
  }

  /** Forgets processes that have ended. */
  forgetEnded(): void {
    this.#processes = this.#processes.filter(({ ended }) => !ended)
    this.world.sweep()
  }

  #ownerOf(process: SimulatedProcess): Owner {
    return this.#processes.find(({ simulated }) => simulated === process) ?? { name: 'gone', ended: true }
  }

  /** Makes the real copy of a data file what the simulated disk has. */
  mirror(path: string): void {
    const place = mirrored(path)
    if (place === undefined) return
    const real = join(this.mirrorDir, place)
    const entry = this.disk.entry(path)
    if (entry instanceof SimulatedFile) {
      mkdirSync(dirname(real), { recursive: true })
      writeFileSync(real, entry.read(0, entry.length))
    } else rmSync(real, { force: true })
  }

  #mirrorAll(): void {
    rmSync(this.mirrorDir, { recursive: true, force: true })
    mkdirSync(this.mirrorDir)
    const visit = (path: string, entry: unknown): void => {
      if (entry instanceof SimulatedFolder) for (const [name, inner] of entry.entries) visit(`${path}/${name}`, inner)
      else this.mirror(path)
    }
    visit(lakeDir, this.disk.entry(lakeDir))
  }
}

/** Where below the lake a data file is; undefined for any other path. */
function mirrored(path: string): string | undefined {
  if (!path.startsWith(`${lakeDir}/`) || !path.endsWith('.parquet')) return undefined
  return path.slice(lakeDir.length + 1)
}

export class MachineProcess implements FileSystem, Clock, Owner {
  readonly role: string
  readonly name: string
  readonly machine: Machine
  readonly simulated: SimulatedProcess
  /** Real folder for its scratch. */
  readonly tmpDir: string
  readonly timers: Timers
  readonly clock: Clock
  readonly onEnd: (() => void)[] = []
  readonly #ending = Promise.withResolvers<void>()

  constructor(machine: Machine, role: string, number: number, interfere: (call: Call, path: string) => Fate) {
    this.machine = machine
    this.role = role
    this.name = `${role}${number}`
    this.simulated = machine.disk.process(interfere)
    this.tmpDir = join(machine.realDir, this.name)
    this.timers = this.#makeTimers()
    this.clock = { nowMs: () => this.nowMs() }
  }

  get ended(): boolean {
    return this.simulated.ended
  }

  /** What it is doing ends here, for good. */
  end(): void {
    if (!this.ended) this.simulated.kill()
    for (const act of this.onEnd.splice(0)) act()
    this.#ending.resolve()
  }

  /** Resolves when it has ended. */
  get whenEnded(): Promise<void> {
    return this.#ending.promise
  }

  nowMs(): number {
    return this.machine.nowMs()
  }

  open(path: string, mode: 'read' | 'write' | 'create'): Promise<FileHandle> {
    return this.simulated.open(this.#take(path), mode)
  }

  readFile(path: string): Promise<Buffer> {
    return this.simulated.readFile(this.#take(path))
  }

  readNow(path: string): Buffer | undefined {
    return this.simulated.readNow(path)
  }

  readDir(path: string): Promise<string[]> {
    return this.simulated.readDir(path)
  }

  readEntries(path: string): Promise<FolderEntry[]> {
    return this.simulated.readEntries(path)
  }

  makeDir(path: string): Promise<void> {
    return path === this.machine.mirrorDir ? Promise.resolve() : this.simulated.makeDir(this.#simulatedPath(path))
  }

  async rename(from: string, to: string): Promise<void> {
    await this.simulated.rename(this.#take(from), to)
    if (from.startsWith(this.tmpDir)) rmSync(from, { force: true })
    this.machine.mirror(to)
  }

  async link(from: string, to: string): Promise<void> {
    await this.simulated.link(this.#take(from), to)
    await this.machine.afterLink(this, to)
  }

  async remove(path: string): Promise<void> {
    await this.machine.beforeRemove(this, path)
    await this.simulated.remove(this.#simulatedPath(path))
    this.machine.mirror(path)
  }

  syncDir(path: string): Promise<void> {
    return this.simulated.syncDir(this.#simulatedPath(path))
  }

  freeBytes(): Promise<number> {
    return this.simulated.freeBytes()
  }

  watch(path: string, onChange: (name: string) => void): () => void {
    const { world } = this.machine
    return this.simulated.watch(path, (name) => {
      // Notifications may be missed.
      if (world.chance(900)) void world.turn(this, `notice ${name}`).then(() => onChange(name))
    })
  }

  /** The path on the simulated disk; a real scratch file is taken over when it is first named. */
  #take(path: string): string {
    const simulated = this.#simulatedPath(path)
    if (simulated === path) return path
    const { disk } = this.machine
    if (disk.entry(simulated) === undefined && existsSync(path)) {
      const file = new SimulatedFile()
      file.write(0, readFileSync(path))
      disk.folder(dirname(simulated)).change(new Map([[simulated.slice(dirname(simulated).length + 1), file]]))
    }
    return simulated
  }

  #simulatedPath(path: string): string {
    return path.startsWith(this.tmpDir) ? `/data/tmp/${this.name}${path.slice(this.tmpDir.length)}` : path
  }

  #makeTimers(): Timers {
    const { world } = this.machine
    return {
      monotonicMs: () => world.elapsedMs,
      after: (ms, act) => world.after(this, 'timer', ms, act),
      every: (ms, act) => {
        let cancel = (): void => {}
        const again = (): void => {
          cancel = world.after(this, 'interval', ms, () => {
            again()
            act()
          })
        }
        again()
        return () => cancel()
      },
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          if (signal?.aborted === true) return resolve()
          const cancel = world.after(this, 'sleep', ms, resolve)
          signal?.addEventListener('abort', () => {
            cancel()
            resolve()
          })
        }),
      turn: () => world.turn(this, 'turn'),
    }
  }
}
