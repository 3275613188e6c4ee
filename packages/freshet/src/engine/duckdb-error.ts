/** What DuckDB's errors mean. */

/** True for an error that says DuckDB ran out of memory or spill space. */
export function isOutOfMemory(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^Out of Memory Error|failed to offload data block|max_temp_directory_size/i.test(error.message)
  )
}
