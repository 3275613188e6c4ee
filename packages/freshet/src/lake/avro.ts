import { createHash } from 'node:crypto'
import { deflateRawSync, inflateRawSync, zstdDecompressSync } from 'node:zlib'
import avsc from 'avsc'

/**
 * Avro object container files (Avro spec, Object Container Files): the header `Obj\1`, metadata, sync marker; then blocks of
 * record count, byte length, compressed records, sync marker. avsc encodes the records. The container is ours because avsc's
 * encoder cannot keep Iceberg's field ids and exact longs at once, and its decoder passes over a torn last block in silence.
 */
export type AvroSchema = string | { type: string; [attribute: string]: unknown } | AvroSchema[]

export interface AvroFile<T> {
  metadata: Map<string, string>
  records: T[]
}

const magic = Buffer.from('Obj\x01', 'latin1')
const recordsPerBlock = 1000
const typeCacheMax = 64

/** 64-bit integers: a number where that is exact, else a bigint. Takes both. Ten times slower than avsc's own. */
const longType = avsc.types.LongType.__with({
  fromBuffer: (buffer: Buffer) => {
    const value = buffer.readBigInt64LE()
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  },
  toBuffer: (value: number | bigint) => {
    const buffer = Buffer.alloc(8)
    buffer.writeBigInt64LE(BigInt(value))
    return buffer
  },
  fromJSON: (value: unknown) => value,
  toJSON: (value: unknown) => value,
  isValid: (value: unknown) => typeof value === 'bigint' || Number.isSafeInteger(value),
  compare: (a: number | bigint, b: number | bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

const lengthType = avsc.Type.forSchema('long')
const metadataType = avsc.Type.forSchema({ type: 'map', values: 'bytes' })
const types = new Map<string, avsc.Type>()

/**
 * The long of ids and sequence numbers is exact. The pairs of statistics (`k117_v118`: sizes and counts by field id) keep
 * avsc's own, which refuses what a number cannot hold: there are a hundred of them in an entry, and none is ever that large.
 */
function typeHook(schema: unknown): avsc.Type | undefined {
  const { type, name } = schema as { type?: string; name?: string }
  if (type === 'record' && name !== undefined && /^k\d+_v\d+$/.test(name))
    return avsc.Type.forSchema(schema as avsc.Schema)
  return schema === 'long' || type === 'long' ? longType : undefined
}

/** Types are compiled code; the files of one table share a few schemas. */
function typeOf(schemaText: string): avsc.Type {
  let type = types.get(schemaText)
  if (type === undefined) {
    if (types.size >= typeCacheMax) types.clear()
    type = avsc.Type.forSchema(JSON.parse(schemaText) as avsc.Schema, { typeHook, wrapUnions: 'never' } as object)
    types.set(schemaText, type)
  }
  return type
}

/** A container file, its blocks deflated. The same input gives the same bytes. */
export function encodeAvro(schema: AvroSchema, metadata: Record<string, string>, records: readonly unknown[]): Buffer {
  const schemaText = JSON.stringify(schema)
  const type = typeOf(schemaText)
  const entries = { ...metadata, 'avro.schema': schemaText, 'avro.codec': 'deflate' }
  const bytes = Object.fromEntries(Object.entries(entries).map(([key, value]) => [key, Buffer.from(value, 'utf8')]))
  const blocks: Buffer[] = []
  for (let start = 0; start < records.length; start += recordsPerBlock) {
    const block = records.slice(start, start + recordsPerBlock)
    blocks.push(
      lengthType.toBuffer(block.length),
      deflateRawSync(Buffer.concat(block.map((record) => type.toBuffer(record)))),
    )
  }
  const sync = createHash('md5').update(schemaText).update(Buffer.concat(blocks)).digest()
  const parts = [magic, metadataType.toBuffer(bytes), sync]
  for (let index = 0; index < blocks.length; index += 2) {
    parts.push(blocks[index]!, lengthType.toBuffer(blocks[index + 1]!.length), blocks[index + 1]!, sync)
  }
  return Buffer.concat(parts)
}

/**
 * Reads a whole container file by the schema it carries.
 * @throws Error when it is torn, damaged, or compressed in a way we cannot read.
 */
export function decodeAvro<T>(file: Buffer): AvroFile<T> {
  if (!file.subarray(0, 4).equals(magic)) throw new Error('it is not an Avro file')
  const header = read(metadataType, file, 4)
  const metadata = new Map(
    Object.entries(header.value as Record<string, Buffer>).map(([key, value]) => [key, value.toString('utf8')]),
  )
  const type = typeOf(metadata.get('avro.schema') ?? 'null')
  const unpack = codecOf(metadata.get('avro.codec') ?? 'null')
  const sync = file.subarray(header.end, header.end + 16)
  const records: T[] = []
  let at = header.end + 16
  while (at < file.length) {
    const count = readLong(file, at)
    const length = readLong(file, count.end)
    const end = length.end + length.value
    if (!file.subarray(end, end + 16).equals(sync)) throw new Error(`the block at byte ${at} is torn or damaged`)
    const data = unpack(file.subarray(length.end, end))
    let offset = 0
    for (let index = 0; index < count.value; index++) {
      const record = read(type, data, offset)
      records.push(record.value as T)
      offset = record.end
    }
    if (offset !== data.length) throw new Error(`the block at byte ${at} has ${data.length - offset} bytes too many`)
    at = end + 16
  }
  if (at !== file.length) throw new Error('its header is torn')
  return { metadata, records }
}

function read(type: avsc.Type, buffer: Buffer, at: number): { value: unknown; end: number } {
  const { value, offset }: { value: unknown; offset: number } = type.decode(buffer, at)
  if (offset < 0) throw new Error(`it ends in the middle of a value at byte ${at}`)
  return { value, end: offset }
}

function readLong(buffer: Buffer, at: number): { value: number; end: number } {
  const { value, end } = read(lengthType, buffer, at)
  return { value: value as number, end }
}

function codecOf(codec: string): (data: Buffer) => Buffer {
  switch (codec) {
    case 'null':
      return (data) => data
    case 'deflate':
      return (data) => inflateRawSync(data)
    case 'zstandard':
      return (data) => zstdDecompressSync(data)
    default:
      throw new Error(`its compression ${codec} is not supported`)
  }
}
