/** Where the declared types of a stream and those of its table do not go together. */
import { columnTypeText } from '../../config/column-types.ts'
import { formatFieldPath } from '../../config/field-path.ts'
import type { Column, ColumnType } from '../../config/plan.ts'
import { sameType, widen } from '../columns.ts'

export interface TypeConflict {
  /** `narrower`: the table's type holds all of the declared one, and stays. `neither`: only a third type holds both. `case`: two spellings. */
  kind: 'narrower' | 'neither' | 'case'
  path: string
  /** The declared type in words. */
  declared: string
  /** The table's type in words, or its spelling. */
  found: string
  /** The type that holds both. */
  both: string
}

/** The conflicts between what a table has and what is declared; types that only become wider are none. */
export function typeConflicts(known: readonly Column[], declared: readonly Column[]): TypeConflict[] {
  return fieldConflicts(known, declared, [])
}

function fieldConflicts(
  known: readonly Column[],
  declared: readonly Column[],
  path: readonly string[],
): TypeConflict[] {
  const byName = new Map(known.map((column) => [column.name, column]))
  const bySpelling = new Map(known.map((column) => [column.name.toLowerCase(), column]))
  return declared.flatMap(({ name, type }): TypeConflict[] => {
    const at = [...path, name]
    const found = byName.get(name)
    if (found !== undefined) return conflictsOf(found.type, type, at)
    const twin = bySpelling.get(name.toLowerCase())
    if (twin === undefined) return []
    const text = columnTypeText(type)
    return [{ kind: 'case', path: formatFieldPath(at), declared: text, found: twin.name, both: text }]
  })
}

function conflictsOf(known: ColumnType, declared: ColumnType, path: readonly string[]): TypeConflict[] {
  if (known.kind === 'struct' && declared.kind === 'struct') return fieldConflicts(known.fields, declared.fields, path)
  if (known.kind === 'list' && declared.kind === 'list')
    return conflictsOf(known.element, declared.element, [...path, '[]'])
  if (known.kind === 'map' && declared.kind === 'map') return conflictsOf(known.value, declared.value, [...path, '*'])
  const both = widen(known, declared)
  if (sameType(both, declared)) return []
  const kind = sameType(both, known) ? 'narrower' : 'neither'
  const [declaredText, found, bothText] = [declared, known, both].map(columnTypeText) as [string, string, string]
  return [{ kind, path: formatFieldPath(path), declared: declaredText, found, both: bothText }]
}
