/**
 * Checks the metadata versions of a table in a `FileCatalog`: those that are kept follow one another without a gap, since a version
 * whose predecessor is gone is not trusted, and a hint below a gap would lead back in time; each can be read; the hint names a
 * version near the newest. Nothing is changed, and a server may be committing meanwhile.
 */
import { messageOf } from '../../runtime/errors.ts'
import type { Finding } from '../../runtime/finding.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import { parseMetadata } from '../metadata.ts'

export interface VersionsCheck {
  versions: number
  /** Key of the newest version, if there is one. */
  newest: string | undefined
  /** Keys of the versions and the hint. */
  keys: Set<string>
  findings: Finding[]
}

export async function verifyVersions(
  store: ObjectStore,
  name: string,
  placeOf: (key: string) => string,
): Promise<VersionsCheck> {
  const folder = `${name}/metadata/`
  const keyOf = (version: number): string => `${folder}v${version}.metadata.json`
  const hintKey = `${folder}version-hint.text`
  const list = async (): Promise<number[]> => {
    const keys = await store.list(`${folder}v`)
    const numbers = keys.map(({ key }) => Number(/\/v([1-9]\d*)\.metadata\.json$/.exec(key)?.[1] ?? 0))
    return numbers.filter((number) => number > 0).toSorted((a, b) => a - b)
  }
  const findings: Finding[] = []
  const about = { check: 'table', stream: name } as const
  const hint = (await store.get(hintKey))?.toString('utf8').trim()
  const versions = await list()
  const oldest = versions[0] ?? 0
  const newest = versions.at(-1) ?? 0
  const present = new Set(versions)
  for (let version = Math.max(1, oldest); version <= newest; version++) {
    const file = placeOf(keyOf(version))
    if (!present.has(version)) {
      // Versions go from the oldest on.
      if (((await list())[0] ?? 0) > version) continue
      const what = `The metadata ${file} is missing, while older and newer versions are there.`
      const mend = `Restore it from a copy; until then a reader may take version ${version - 1} for the newest.`
      findings.push({ severity: 'problem', ...about, file, what, mend })
      continue
    }
    const text = await store.get(keyOf(version))
    // The newest is read, and reported, by whoever loads the table.
    if (text === undefined || version === newest) continue
    try {
      parseMetadata(text.toString('utf8'), file)
    } catch (error) {
      const what = `${messageOf(error)} It is an older version, which only going back would need.`
      findings.push({ severity: 'note', ...about, file, what })
    }
  }
  const hinted = hint !== undefined && /^[1-9]\d{0,14}$/.test(hint) ? Number(hint) : undefined
  if (newest > 0 && (hinted === undefined || hinted < oldest || hinted > newest)) {
    const file = placeOf(hintKey)
    const said = hint === undefined ? 'is missing' : `says ${JSON.stringify(hint.slice(0, 40))}`
    const what = `The version hint ${file} ${said}; the newest version is ${newest}. The next commit writes it anew.`
    findings.push({ severity: 'note', ...about, file, what })
  }
  const newestKey = newest > 0 ? keyOf(newest) : undefined
  return { versions: versions.length, newest: newestKey, keys: new Set([...versions.map(keyOf), hintKey]), findings }
}
