import type { Random } from '../../src/runtime/random.ts'

/** Disks write whole sectors: a torn write leaves some of them and not the others. */
const sectorBytes = 512

type Change = { kind: 'write'; at: number; bytes: Buffer } | { kind: 'truncate'; length: number }

/** Bytes that can be written anywhere; a hole reads as zeros. */
class Content {
  #buffer = Buffer.alloc(0)
  length = 0

  write(at: number, bytes: Uint8Array): void {
    const end = at + bytes.byteLength
    if (end > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(end, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, this.length)
      this.#buffer = larger
    }
    this.#buffer.set(bytes, at)
    this.length = Math.max(this.length, end)
  }

  truncate(length: number): void {
    if (length < this.length) this.#buffer.fill(0, length, this.length)
    else this.write(length, Buffer.alloc(0))
    this.length = length
  }

  /** A copy. */
  bytes(from = 0, to = this.length): Buffer {
    return Buffer.from(this.#buffer.subarray(Math.min(from, this.length), Math.min(to, this.length)))
  }
}

/** A file as processes see it, as the disk has it, and the changes between the two. */
export class SimulatedFile {
  readonly #seen = new Content()
  #disk = new Content()
  #changes: Change[] = []
  /** When its bytes or names last changed; ms since 1970. */
  modifiedMs = 0

  get length(): number {
    return this.#seen.length
  }

  /** What the disk has for certain. */
  get durable(): Buffer {
    return this.#disk.bytes()
  }

  read(from: number, to: number): Buffer {
    return this.#seen.bytes(from, to)
  }

  write(at: number, bytes: Uint8Array): void {
    this.#seen.write(at, bytes)
    this.#changes.push({ kind: 'write', at, bytes: Buffer.from(bytes) })
  }

  truncate(length: number): void {
    this.#seen.truncate(length)
    this.#changes.push({ kind: 'truncate', length })
  }

  sync(): void {
    for (const change of this.#changes) apply(this.#disk, change)
    this.#changes = []
  }

  /** A sync that fails: any part of the changes may be on disk, and the operating system forgets that the others are not. */
  failSync(random: Random): void {
    this.#applySome(random)
    this.#changes = []
  }

  /** What is left after a power cut: what was synced, and any part of the changes since. */
  losePower(random: Random): void {
    this.#applySome(random)
    this.#changes = []
    this.#seen.truncate(0)
    this.#seen.write(0, this.#disk.bytes())
  }

  /** Changes bytes behind everybody's back, as a failing disk does. */
  damage(at: number, bytes: Uint8Array): void {
    this.#seen.write(at, bytes)
    this.#disk.write(at, bytes)
  }

  /** Cuts the file behind everybody's back. */
  lose(length: number): void {
    this.sync()
    this.#seen.truncate(length)
    this.#disk.truncate(length)
  }

  #applySome(random: Random): void {
    for (const change of this.#changes) {
      const fate = random.integer(4)
      if (fate === 0) continue
      if (fate === 1 || change.kind === 'truncate') apply(this.#disk, change)
      else if (fate === 2)
        apply(this.#disk, { ...change, bytes: change.bytes.subarray(0, random.integer(change.bytes.length + 1)) })
      else this.#applySectors(change.at, change.bytes, random)
    }
  }

  /** Writes some sectors; the length of the file counts all of them, so that lost ones may read as zeros. */
  #applySectors(at: number, bytes: Buffer, random: Random): void {
    const end = at + bytes.length
    if (end > this.#disk.length && random.integer(2) === 0) this.#disk.truncate(end)
    for (let from = at; from < end;) {
      const to = Math.min(end, (Math.floor(from / sectorBytes) + 1) * sectorBytes)
      if (random.integer(2) === 0) this.#disk.write(from, bytes.subarray(from - at, to - at))
      from = to
    }
  }
}

function apply(content: Content, change: Change): void {
  if (change.kind === 'truncate') content.truncate(change.length)
  else content.write(change.at, change.bytes)
}
