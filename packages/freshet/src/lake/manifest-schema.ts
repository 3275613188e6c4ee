import type { AvroSchema } from './avro.ts'
import type { PartitionSpec } from './partition.ts'
import { leavesOf, type StructType } from './schema.ts'

/** The Avro schemas of manifests and manifest lists, with the field ids that readers go by (Iceberg spec, Manifests). */

function field(name: string, id: number, type: AvroSchema): Record<string, unknown> {
  return { name, type, 'field-id': id }
}

function optional(name: string, id: number, type: AvroSchema): Record<string, unknown> {
  return { name, type: ['null', type], default: null, 'field-id': id }
}

/** A map with integer keys, which Avro writes as an array of pairs. */
function intMap(keyId: number, valueId: number, value: string): AvroSchema {
  const pair = {
    type: 'record',
    name: `k${keyId}_v${valueId}`,
    fields: [field('key', keyId, 'int'), field('value', valueId, value)],
  }
  return { type: 'array', logicalType: 'map', items: pair }
}

function list(elementId: number, element: AvroSchema): AvroSchema {
  return { type: 'array', items: element, 'element-id': elementId }
}

export const manifestListSchema: AvroSchema = {
  type: 'record',
  name: 'manifest_file',
  fields: [
    field('manifest_path', 500, 'string'),
    field('manifest_length', 501, 'long'),
    field('partition_spec_id', 502, 'int'),
    field('content', 517, 'int'),
    field('sequence_number', 515, 'long'),
    field('min_sequence_number', 516, 'long'),
    field('added_snapshot_id', 503, 'long'),
    field('added_files_count', 504, 'int'),
    field('existing_files_count', 505, 'int'),
    field('deleted_files_count', 506, 'int'),
    field('added_rows_count', 512, 'long'),
    field('existing_rows_count', 513, 'long'),
    field('deleted_rows_count', 514, 'long'),
    optional(
      'partitions',
      507,
      list(508, {
        type: 'record',
        name: 'r508',
        fields: [
          field('contains_null', 509, 'boolean'),
          optional('contains_nan', 518, 'boolean'),
          optional('lower_bound', 510, 'bytes'),
          optional('upper_bound', 511, 'bytes'),
        ],
      }),
    ),
    optional('key_metadata', 519, 'bytes'),
  ],
}

/** A manifest's schema for files of one partition spec; undefined when its values are of a type that we do not write. */
export function manifestSchema(spec: PartitionSpec, schema: StructType): AvroSchema | undefined {
  const partition: Record<string, unknown>[] = []
  for (const part of spec.fields) {
    const type = partitionType(part.transform, part['source-id'], schema)
    if (type === undefined) return undefined
    partition.push(optional(part.name, part['field-id'], type))
  }
  const dataFile: AvroSchema = {
    type: 'record',
    name: 'r2',
    fields: [
      field('content', 134, 'int'),
      field('file_path', 100, 'string'),
      field('file_format', 101, 'string'),
      field('partition', 102, { type: 'record', name: 'r102', fields: partition }),
      field('record_count', 103, 'long'),
      field('file_size_in_bytes', 104, 'long'),
      optional('column_sizes', 108, intMap(117, 118, 'long')),
      optional('value_counts', 109, intMap(119, 120, 'long')),
      optional('null_value_counts', 110, intMap(121, 122, 'long')),
      optional('nan_value_counts', 137, intMap(138, 139, 'long')),
      optional('lower_bounds', 125, intMap(126, 127, 'bytes')),
      optional('upper_bounds', 128, intMap(129, 130, 'bytes')),
      optional('key_metadata', 131, 'bytes'),
      optional('split_offsets', 132, list(133, 'long')),
      optional('equality_ids', 135, list(136, 'int')),
      optional('sort_order_id', 140, 'int'),
    ],
  }
  return {
    type: 'record',
    name: 'manifest_entry',
    fields: [
      field('status', 0, 'int'),
      optional('snapshot_id', 1, 'long'),
      optional('sequence_number', 3, 'long'),
      optional('file_sequence_number', 4, 'long'),
      field('data_file', 2, dataFile),
    ],
  }
}

function partitionType(transform: string, sourceId: number, schema: StructType): AvroSchema | undefined {
  if (transform === 'day') return { type: 'int', logicalType: 'date' }
  if (transform === 'hour' || transform === 'month' || transform === 'year' || transform.startsWith('bucket['))
    return 'int'
  if (transform !== 'identity' && !transform.startsWith('truncate[')) return undefined
  const source = leavesOf(schema).find((leaf) => leaf.id === sourceId)?.type
  return source === 'string' || source === 'long' || source === 'int' || source === 'boolean' ? source : undefined
}
