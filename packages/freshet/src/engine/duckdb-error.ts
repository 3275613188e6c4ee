/** What DuckDB's errors mean. */

/** True for an error that says a file is not there that was to be read. */
export function isMissingFile(error: unknown): boolean {
  return (
    error instanceof Error && /No files found that match|Cannot open file "[^"]*": No such file/.test(error.message)
  )
}

/** True for an error that says DuckDB ran out of memory or spill space. */
export function isOutOfMemory(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^Out of Memory Error|failed to offload data block|max_temp_directory_size/i.test(error.message)
  )
}
