/** The contract by which transforms read objects: by their bytes' hash, as the events of a bucket's stream name them. */
export interface ObjectReader {
  /**
   * The bytes of an object; undefined when they are gone, or never were there.
   * @throws FreshetError `corrupt_object`, `object_unreadable`, `unknown_bucket`
   */
  read(bucket: string, sha256: string): Promise<Buffer | undefined>
  /** The same, piece by piece, those from `start` up to `end` (exclusive) when they are given. */
  stream(
    bucket: string,
    sha256: string,
    range?: { start: number; end: number },
  ): Promise<AsyncIterable<Buffer> | undefined>
}
