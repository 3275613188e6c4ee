/** What a check of stored data found at one place. */
export interface Finding {
  /** `problem`: stored data is not what it should be. `note`: worth knowing, and nothing is wrong. */
  severity: 'problem' | 'note'
  /** Which check found it. */
  check: 'folder' | 'log' | 'table' | 'position' | 'ledger' | 'duplicates' | 'objects'
  stream?: string
  bucket?: string
  /** Absolute path, or the key of an object in a store that has no paths. */
  file?: string
  /** Byte in the file. */
  offset?: number
  /** What is there, as a sentence. */
  what: string
  /** What to do about it, as a sentence. */
  mend?: string
}

/** The findings among `findings` that say something is wrong. */
export function problemsIn(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ severity }) => severity === 'problem')
}
