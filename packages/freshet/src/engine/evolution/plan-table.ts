/**
 * What a table needs for the configuration to hold for it: which of its fields change, how new files are cut, and what must not be
 * done without asking, since it would lose data, break readers or change what counts as a repeat. Pure: it reads a table's metadata
 * and gives the metadata that follows; apply-plan.ts commits it.
 *
 * Nothing here touches a data file. Fields keep their ids, and files are read by them.
 */
import { systemColumns, type StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { dropFields, orderFields, relaxFields, renameFields, type Refusal } from '../../lake/evolution.ts'
import {
  currentSchema,
  currentSnapshot,
  defaultSpec,
  formerFields,
  withPartition,
  withSchema,
  type TableMetadata,
} from '../../lake/metadata.ts'
import { namesDiffer, nestedNamesKey } from '../../lake/nested-names.ts'
import type { PartitionSpec } from '../../lake/partition.ts'
import { columnsOf, evolveSchema, tableColumns, type EvolutionBase, type IcebergSchema } from '../../lake/schema.ts'
import { schemaChanges, type Change } from '../../lake/schema-changes.ts'
import { mergeColumns } from '../columns.ts'
import { presentName, recordOf, streamRecord, withRecord, type StreamRecord } from './stream-record.ts'
import { typeConflicts } from './type-conflicts.ts'

export interface TablePlan {
  table: string
  /** `new`: made with the first events. `undeclared`: not in the configuration. `unreadable`: damaged, or of another kind. */
  state: 'new' | 'unchanged' | 'change' | 'refused' | 'undeclared' | 'unreadable'
  changes: Change[]
  refusals: Refusal[]
  /** What stays although it might be expected to change. */
  notes: string[]
  /** The metadata to commit; left out where nothing changes, or something is refused. */
  next?: TableMetadata
}

/** @param accepted words of refusals that are waived */
export function planTable(
  stream: StreamPlan,
  table: LoadedTable | undefined,
  accepted: ReadonlySet<string>,
): TablePlan {
  if (table === undefined) return settled(stream.name, undefined, 'new', {})
  const { metadata } = table
  const refusals: Refusal[] = []
  const notes: string[] = []
  const base = baseOf(metadata)
  const inUse = fieldsInUse(metadata)
  const renamed = renameFields(base, stream.renames ?? [], refusals)
  const dropped = dropFields(renamed, stream.drops ?? [], inUse, refusals)
  const identity = planIdentity(stream, metadata, accepted)
  const types = planTypes(stream, dropped, identity.record, accepted)
  refusals.push(...identity.refusals, ...types.refusals)
  notes.push(...types.notes, ...undeclaredNotes(stream, dropped))
  if (types.blocked) return settled(stream.name, metadata, 'unchanged', { refusals, notes })

  const wanted = tableColumns(stream.columns ?? [])
  const merged = evolveSchema(dropped, mergeColumns(visibleColumns(dropped), wanted)) ?? dropped
  refusals.push(...replacedInUse(base, merged, inUse))
  const ordered = stream.columns === null ? merged : orderFields(merged, wanted)
  const evolved = relaxFields(ordered, keptRequired(ordered.schema, inUse))
  const evolvedMetadata = withEvolved(metadata, base, evolved)
  const next = withPartition(evolvedMetadata, stream.partition)
  const changes = [...schemaChanges(base, evolved), ...partitionChanges(evolvedMetadata, next), ...identity.changes]
  const recorded = withRecord(next, recordOf(stream, types.narrow))
  return settled(stream.name, metadata, 'unchanged', { next: recorded, changes, refusals, notes })
}

/** The plan of a table whose stream the configuration does not have. */
export function planWithoutStream(table: LoadedTable, accepted: ReadonlySet<string>): TablePlan {
  const { name, metadata } = table
  const record = streamRecord(metadata)
  if (record?.declared !== true) return settled(name, metadata, 'undeclared', {})
  const accept = `${name}.remove`
  if (hasRows(metadata) && !accepted.has(accept)) {
    const refusal = {
      reason: `the stream ${name} is declared no longer, and its table has rows${rowsText(metadata)}`,
      mend: `Declare it again; or accept it: no events are taken for it then, and its table stays as it is and readable.`,
      accept,
    }
    return settled(name, metadata, 'undeclared', { refusals: [refusal] })
  }
  const change: Change = { kind: 'property', text: 'declared no longer; the table stays as it is and readable' }
  const next = withRecord(metadata, { ...record, declared: false })
  return settled(name, metadata, 'undeclared', { next, changes: [change] })
}

function settled(
  table: string,
  before: TableMetadata | undefined,
  state: TablePlan['state'],
  found: Partial<TablePlan>,
): TablePlan {
  const { changes = [], refusals = [], notes = [], next } = found
  if (refusals.length > 0) return { table, state: 'refused', changes, refusals, notes }
  if (next === undefined || next === before) return { table, state, changes, refusals, notes }
  return { table, state: changes.length > 0 ? 'change' : state, changes, refusals, notes, next }
}

function baseOf(metadata: TableMetadata): EvolutionBase {
  return {
    schema: currentSchema(metadata),
    lastColumnId: metadata['last-column-id'],
    formerFields: formerFields(metadata),
  }
}

function withEvolved(metadata: TableMetadata, base: EvolutionBase, evolved: EvolutionBase): TableMetadata {
  if (evolved === base) return metadata
  const schemaId = Math.max(...metadata.schemas.map((schema) => schema['schema-id'])) + 1
  const next = withSchema(metadata, { ...evolved, schema: { ...evolved.schema, 'schema-id': schemaId } })
  if (!namesDiffer(evolved.schema, [base.schema])) return next
  return { ...next, properties: { ...next.properties, [nestedNamesKey]: 'true' } }
}

/** The columns that readers see: those that no other continues. */
function visibleColumns({ schema, formerFields: former }: EvolutionBase): ReturnType<typeof columnsOf> {
  const hidden = new Set([...former.values()].flat())
  return columnsOf(schema).filter((_, index) => !hidden.has(schema.fields[index]!.id))
}

/** Field ids that the table's partitions, sort orders and identifiers rest on, each with what says so. */
function fieldsInUse(metadata: TableMetadata): Map<number, string> {
  const inUse = new Map<number, string>()
  const schema = currentSchema(metadata)
  for (const id of schema['identifier-field-ids'] ?? []) inUse.set(id, 'it is an identifier of the table')
  for (const { fields } of metadata['sort-orders']) {
    for (const field of fields as { 'source-id'?: number }[])
      if (field['source-id'] !== undefined) inUse.set(field['source-id'], 'a sort order of the table uses it')
  }
  for (const spec of metadata['partition-specs']) {
    for (const field of spec.fields)
      inUse.set(field['source-id'], `partitions of the table are cut by it (spec ${spec['spec-id']})`)
  }
  return inUse
}

/** Fields that stay required: the system's, and those that identify rows for other engines. */
function keptRequired(schema: IcebergSchema, inUse: ReadonlyMap<number, string>): Set<number> {
  const system = new Set<string>(systemColumns.map(({ name }) => name))
  const ids = schema.fields.filter(({ name }) => system.has(name)).map(({ id }) => id)
  const identifiers = (schema['identifier-field-ids'] ?? []).filter((id) => inUse.has(id))
  return new Set([...ids, ...identifiers])
}

/** A field with another type takes the name of one that the table rests on. */
function replacedInUse(before: EvolutionBase, after: EvolutionBase, inUse: ReadonlyMap<number, string>): Refusal[] {
  return [...after.formerFields].flatMap(([id, [former]]): Refusal[] => {
    const use = before.formerFields.has(id) || former === undefined ? undefined : inUse.get(former)
    if (use === undefined) return []
    const name = after.schema.fields.find((field) => field.id === id)?.name ?? String(id)
    return [
      {
        reason: `${name} cannot get a type that Iceberg cannot widen it to: ${use}`,
        mend: 'Keep its type, or give the new field another name.',
      },
    ]
  })
}

function planTypes(
  stream: StreamPlan,
  base: EvolutionBase,
  record: StreamRecord | undefined,
  accepted: ReadonlySet<string>,
): { refusals: Refusal[]; notes: string[]; narrow: Record<string, string>; blocked: boolean } {
  const refusals: Refusal[] = []
  const notes: string[] = []
  const narrow: Record<string, string> = {}
  let blocked = false
  for (const { kind, path, declared, found, both } of typeConflicts(visibleColumns(base), stream.columns ?? [])) {
    const accept = `${stream.name}.${path}`
    if (kind === 'case') {
      blocked = true
      refusals.push({
        reason: `${path} differs from the column ${found} only by upper and lower case, which SQL does not tell apart`,
        mend: `Spell it ${found}, or drop that column first.`,
      })
    } else if (record?.narrow?.[path] === declared || accepted.has(accept)) {
      narrow[path] = declared
    } else if (kind === 'neither') {
      refusals.push({
        reason: `${path} is ${found} in the table and ${declared} in the schema, and only ${both} holds both`,
        mend: `Give the new field another name; or accept it: a new ${both} column takes the name, and the older values are read as ${both}.`,
        accept,
      })
    } else if (record === undefined || !record.declared) {
      narrow[path] = declared
      notes.push(
        `${path} stays ${found}: a column does not become narrower (${declared} in the schema, which events are held to)`,
      )
    } else {
      refusals.push({
        reason: `${path} is ${found} in the table and ${declared} in the schema: a column does not become narrower`,
        mend: `Declare it as ${found}; or accept it: the column stays ${found}, and events are held to ${declared}.`,
        accept,
      })
    }
  }
  const hidden = new Set([...base.formerFields.values()].flat())
  const hiddenNames = new Map(
    base.schema.fields.filter(({ id }) => hidden.has(id)).map(({ name }) => [name.toLowerCase(), name]),
  )
  for (const { name } of stream.columns ?? []) {
    if (!hiddenNames.has(name.toLowerCase())) continue
    blocked = true
    refusals.push({
      reason: `${name}: the table keeps older values of another column under this name`,
      mend: 'Give the field another name.',
    })
  }
  return { refusals, notes, narrow, blocked }
}

function planIdentity(
  stream: StreamPlan,
  metadata: TableMetadata,
  accepted: ReadonlySet<string>,
): { record: StreamRecord | undefined; refusals: Refusal[]; changes: Change[] } {
  const record = streamRecord(metadata)
  const refusals: Refusal[] = []
  const changes: Change[] = []
  const compare = (role: 'id' | 'time', before: string, now: string, isFree: boolean): void => {
    if (before === now) return
    const accept = `${stream.name}.${role}`
    if (isFree || accepted.has(accept) || !hasRows(metadata)) {
      changes.push({ kind: 'property', text: `${role}: ${before} -> ${now}, for events from now on` })
      return
    }
    refusals.push({
      reason: `the ${role} of events changes from ${before} to ${now}, and the table has rows${rowsText(metadata)}: events that are sent again would not be recognised`,
      mend: `Keep ${before}, or begin another stream; or accept it: what is there stays, and events from now on are told apart by the new ${role}.`,
      accept,
    })
  }
  if (record !== undefined) {
    const idBefore = record.id === null ? null : presentName(record.id, stream.renames)
    compare('id', idText(idBefore), idText(stream.id), !record.declared && record.id === null)
    const timeBefore = record.time && { ...record.time, field: presentName(record.time.field, stream.renames) }
    compare('time', timeText(timeBefore), timeText(stream.time), !record.declared && record.time === null)
  }
  return { record, refusals, changes }
}

function idText(id: StreamPlan['id']): string {
  return id ?? 'ids of the gateway'
}

function timeText(time: StreamPlan['time']): string {
  if (time === null) return 'the time of arrival'
  return time.unit === 'iso' ? time.field : `${time.field} (${time.unit})`
}

function undeclaredNotes(stream: StreamPlan, base: EvolutionBase): string[] {
  if (stream.columns === null || stream.open) return []
  const declared = new Set(tableColumns(stream.columns).map(({ name }) => name))
  const hidden = new Set([...base.formerFields.values()].flat())
  return base.schema.fields
    .filter(({ id, name }) => !declared.has(name) && !hidden.has(id))
    .map(
      ({ id, name }) =>
        `${name} (id ${id}) stays, although the schema lacks it: drop: [${JSON.stringify(name)}] removes it`,
    )
}

function partitionChanges(before: TableMetadata, next: TableMetadata): Change[] {
  if (before['default-spec-id'] === next['default-spec-id']) return []
  const schema = currentSchema(next)
  const text = `partitions: ${specText(defaultSpec(before), schema)} -> ${specText(defaultSpec(next), schema)} (spec ${next['default-spec-id']}) for new files; those there stay as they are`
  return [{ kind: 'partition', text }]
}

function specText({ fields }: PartitionSpec, schema: IcebergSchema): string {
  if (fields.length === 0) return 'none'
  return fields
    .map((field) => {
      const source = schema.fields.find(({ id }) => id === field['source-id'])?.name ?? `field ${field['source-id']}`
      return `${field.transform}(${source})`
    })
    .join(', ')
}

/** A table that was never loaded has none; where nobody counted, there may be some. */
function hasRows(metadata: TableMetadata): boolean {
  const snapshot = currentSnapshot(metadata)
  return snapshot !== undefined && snapshot.summary['total-records'] !== '0'
}

function rowsText(metadata: TableMetadata): string {
  const rows = currentSnapshot(metadata)?.summary['total-records']
  return rows === undefined ? '' : ` (${rows})`
}
